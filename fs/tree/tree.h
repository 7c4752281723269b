// Tree: all inodes and names of a store, in memory. It changes by Apply()ing
// changes only: those of commits read back at mount, and those of commits just
// appended. (The one exception are access times: see SetAccessTime().)
//
// Thread rules: like a standard container. Any number of threads may call
// const methods at once; Apply() and the other non-const ones need to be alone
// (Volume guards its tree with a reader/writer lock). Pointers to inodes and
// names stay valid until the change that drops them.

#ifndef VARVE_FS_TREE_TREE_H_
#define VARVE_FS_TREE_TREE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "fs/format/change.h"
#include "fs/format/extent.h"
#include "fs/tree/data_id_ranges.h"
#include "fs/tree/inode.h"
#include "fs/tree/inode_table.h"

namespace varve::fs {

class Tree {
 public:
  Tree();
  ~Tree();

  // Says that the changes from here on are those of another commit, or of a
  // checkpoint. In a directory, a name that a commit drops and puts again keeps
  // its place in the order; and if an inode loses a name there that is not put
  // again, and gets another that is new, the new name has the place of the old.
  void BeginCommit() { dropped_count_ = 0; }
  // Makes the tree be as the change says. `time` is that of the commit, or
  // nothing while a checkpoint is read, when names do not touch times. On an
  // error (DATA_LOSS: the change contradicts the tree) nothing has changed.
  absl::Status Apply(const Change& change, std::optional<Timestamp> time);

  // Makes a name that there is be the first of its inode.
  void MakeFirst(uint64_t directory, absl::string_view name);
  // Drops everything: the tree is as a new one.
  void Clear();

  // Says when an inode was last read. It is not worth a commit, and kept by the
  // next change or checkpoint of it.
  void SetAccessTime(uint64_t ino, Timestamp time);

  const Inode* Find(uint64_t ino) const { return inodes_.Find(ino); }
  const Inode* root() const { return Find(kRootIno); }
  // The inode of that name in a directory; null if there is none.
  const Inode* Lookup(const Inode& directory, absl::string_view name) const;
  // Resolves a path relative to the root ("a/b/c", "" is the root) without
  // following symlinks; null if it does not exist.
  const Inode* Resolve(absl::string_view path) const;

  // The path of a name, or the first path of an inode, without leading slash.
  static std::string PathOf(const Name& name);
  static std::string PathOf(const Inode& inode);
  // Whether `inode` is `directory` or lies below it.
  static bool IsWithin(const Inode& inode, const Inode& directory);

  // The path that a name in a directory has or would have.
  static std::string PathIn(const Inode& directory, absl::string_view name);

  // All of the content as extents (holes left out).
  static ExtentMap ContentOf(const Inode& inode);
  // Calls `visit` with the payload offset of each entry that content lies in;
  // with some of them more than once.
  template <typename Visit>
  static void ForEachEntryOf(const Inode& inode, const Visit& visit) {
    if (inode.whole_entry != Inode::kNone) visit(inode.whole_entry);
    if (inode.detail == nullptr) return;
    for (const auto& [offset, extent] : inode.detail->extents.extents()) {
      visit(extent.payload_offset());
    }
  }

  // Inodes, the root included, and the bytes of all file contents.
  uint64_t inode_count() const { return inodes_.size(); }
  uint64_t content_bytes() const { return content_bytes_; }
  // The same without holes.
  uint64_t data_bytes() const { return data_bytes_; }
  uint64_t name_count() const { return name_count_; }
  // Extents of files that lie in pieces.
  uint64_t extent_count() const { return extent_count_; }
  // Whether some content may lie in the same bytes of the store as other.
  bool may_have_clones() const { return may_have_clones_; }

  // Makes all content lie where `other`, which has the same inodes, says.
  // Takes what it needs from `other`, which is of no use afterwards.
  void TakeLocations(Tree& other);
  // Makes the content of an inode lie in these extents.
  static void SetLocations(Inode& inode, const std::vector<Extent>& extents);

  // Every inode, parents before what is in them.
  void ForEach(const std::function<void(const Inode&)>& visit) const;

  // What Apply cannot see change by change: inodes that have no name. Returns
  // a sentence for each. (Cycles cannot come about: see PutName, and
  // EndCycleCheck().)
  std::vector<std::string> CheckConsistency() const;

  // Ranges of data ids that an unclean stop left without a commit.
  const DataIdRanges& unfinished() const { return unfinished_; }

  // From now on, PutName does not look whether a directory comes to lie in
  // itself: each time that takes as long as the directory lies deep.
  void DeferCycleCheck() { defers_cycle_check_ = true; }
  // Looks at all directories at once instead, if one that was not empty has got
  // a name since. DATA_LOSS if one lies in itself; the tree is of no use then.
  absl::Status EndCycleCheck();

  // Is called with each inode that a change makes.
  void set_on_make(std::function<void(Inode&)> on_make) {
    on_make_ = std::move(on_make);
  }
  // Keeps a dropped inode's content known for those who still have it open:
  // `on_drop` gets all that it was, in an Inode of its own.
  void set_on_drop(std::function<void(std::unique_ptr<Inode>)> on_drop) {
    on_drop_ = std::move(on_drop);
  }

 private:
  absl::Status Do(const PutInode& change, std::optional<Timestamp> time);
  absl::Status Do(const DropInode& change, std::optional<Timestamp> time);
  absl::Status Do(const PutName& change, std::optional<Timestamp> time);
  absl::Status Do(const DropName& change, std::optional<Timestamp> time);
  absl::Status Do(const SetContent& change, std::optional<Timestamp> time);
  absl::Status Do(const PatchContent& change, std::optional<Timestamp> time);
  absl::Status Do(const SetXattr& change, std::optional<Timestamp> time);
  absl::Status Do(const DropXattr& change, std::optional<Timestamp> time);
  absl::Status Do(const KeepUnfinished& change, std::optional<Timestamp> time);

  // A name that was dropped by the commit whose changes are being applied.
  struct Dropped {
    uint64_t parent;
    uint64_t ino;
    uint64_t hash;  // of the name
    uint64_t cookie;
  };
  // The place that such a name has left, for one that is put; nothing if it has
  // to be a new one.
  std::optional<uint64_t> TakeCookieFor(const PutName& change, uint64_t hash);
  // Whether `directory` may get a name in `parent`, and does not come to lie in
  // itself.
  bool MayHold(const Inode& directory, const Inode& parent);
  Inode* FindMutable(uint64_t ino) { return inodes_.FindMutable(ino); }
  void ReplaceContent(const SetContent& change, Inode& inode,
                      bool from_checkpoint);
  // Turns a whole entry into an ordinary extent, so that it can be patched.
  void ExpandWholeEntry(Inode& inode);
  // Counts size, data and extents of an inode in (+1) or out (-1), around a
  // change.
  void CountContent(const Inode& inode, int sign);

  NameMemory name_memory_;  // outlives the directories among the inodes
  InodeTable inodes_;
  uint64_t content_bytes_ = 0;
  uint64_t data_bytes_ = 0;
  uint64_t name_count_ = 0;
  uint64_t extent_count_ = 0;
  bool may_have_clones_ = false;
  DataIdRanges unfinished_;
  // The newest ones; more than two are in no commit of ours.
  std::array<Dropped, 4> dropped_;
  size_t dropped_count_ = 0;
  bool defers_cycle_check_ = false;
  bool is_cycle_check_due_ = false;
  std::function<void(Inode&)> on_make_;
  std::function<void(std::unique_ptr<Inode>)> on_drop_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_H_
