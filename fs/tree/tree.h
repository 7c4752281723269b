// Tree: all inodes and names of a store, in memory. This is how Varve once kept
// its tree; now it is the model that tests compare LiveTree with. It changes
// only by Apply(), apart from access times (SetAccessTime()).
//
// Thread rules: like a standard container. Pointers to inodes and names stay
// valid until the change that drops them.

#ifndef VARVE_FS_TREE_TREE_H_
#define VARVE_FS_TREE_TREE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
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

  // Begins another commit: the changes from here on belong to it. A name that a
  // commit drops and puts again in its directory keeps its place in the order.
  // If a commit drops one name of an inode and puts a new one in the same
  // directory, the new name takes the place of the old.
  void BeginCommit() { dropped_count_ = 0; }
  // Applies a change. `time` is that of the commit; without one, changes of
  // names do not set the times of inodes. DATA_LOSS if the change contradicts
  // the tree; then nothing has changed.
  absl::Status Apply(const Change& change, std::optional<Timestamp> time);

  // Makes an existing name the first of its inode.
  void MakeFirst(uint64_t directory, absl::string_view name);
  // Makes the tree as it was when new.
  void Clear();

  // Sets when an inode was last read.
  void SetAccessTime(uint64_t ino, Timestamp time);

  const Inode* Find(uint64_t ino) const { return inodes_.Find(ino); }
  const Inode* root() const { return Find(kRootIno); }
  // The inode with this name in a directory; null if there is none.
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

  // All of the content as extents, without holes.
  static ExtentMap ContentOf(const Inode& inode);
  // Calls `visit` with the payload offset of each entry that holds content,
  // with some offsets more than once.
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
  // Extents of files whose content is not one whole entry.
  uint64_t extent_count() const { return extent_count_; }
  // Whether files may share bytes of the store.
  bool may_have_clones() const { return may_have_clones_; }

  // Sets the extents of all content to those of `other`, which must have the
  // same inodes. Consumes `other`.
  void TakeLocations(Tree& other);
  // Sets the extents of an inode's content.
  static void SetLocations(Inode& inode, const std::vector<Extent>& extents);

  // Calls `visit` with every inode, a directory before the inodes in it.
  void ForEach(const std::function<void(const Inode&)>& visit) const;

  // Looks for inodes without a name, which Apply() cannot notice. Returns a
  // sentence for each. (PutName and EndCycleCheck() prevent cycles.)
  std::vector<std::string> CheckConsistency() const;

  // Ranges of data ids that an unclean stop left without a commit.
  const DataIdRanges& unfinished() const { return unfinished_; }

  // From now on, PutName does not check whether a directory comes to lie in
  // itself. Each check takes time in proportion to the depth of the directory.
  void DeferCycleCheck() { defers_cycle_check_ = true; }
  // Checks all directories at once instead, if a non-empty one has got a name
  // since. DATA_LOSS if a directory lies in itself; the tree is unusable then.
  absl::Status EndCycleCheck();

  // `on_make` is called with each inode that a change makes.
  void set_on_make(std::function<void(Inode&)> on_make) {
    on_make_ = std::move(on_make);
  }
  // `on_drop` is called with each inode that a change drops, as an Inode of its
  // own, so that it can live on while it is open.
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
  // What concerns moments is no part of this tree.
  template <typename Kind>
  requires(std::is_same_v<Kind, PutSnapshot> ||
           std::is_same_v<Kind, DropSnapshot> ||
           std::is_same_v<Kind, ForgetBefore> ||
           std::is_same_v<Kind, SetPolicy> ||
           std::is_same_v<Kind, NoteAuthor> ||
           std::is_same_v<Kind, PurgePath>) absl::Status
      Do(const Kind&, std::optional<Timestamp>) {
    return absl::OkStatus();
  }

  // A name that was dropped by the commit whose changes are being applied.
  struct Dropped {
    uint64_t parent;
    uint64_t ino;
    uint64_t hash;  // of the name
    uint64_t cookie;
  };
  // The cookie of a dropped name, for the name that takes its place; nothing if
  // the name gets a new one.
  std::optional<uint64_t> TakeCookieFor(const PutName& change, uint64_t hash);
  // Whether `directory` may get a name in `parent` without coming to lie in
  // itself.
  bool MayHold(const Inode& directory, const Inode& parent);
  Inode* FindMutable(uint64_t ino) { return inodes_.FindMutable(ino); }
  void ReplaceContent(const SetContent& change, Inode& inode,
                      bool from_checkpoint);
  // Turns a whole entry into an ordinary extent, so that it can be patched.
  void ExpandWholeEntry(Inode& inode);
  // Adds (sign +1) or subtracts (-1) size, data and extents of an inode.
  void CountContent(const Inode& inode, int sign);

  NameMemory name_memory_;  // must outlive the directories among the inodes
  InodeTable inodes_;
  uint64_t content_bytes_ = 0;
  uint64_t data_bytes_ = 0;
  uint64_t name_count_ = 0;
  uint64_t extent_count_ = 0;
  bool may_have_clones_ = false;
  DataIdRanges unfinished_;
  // The names dropped last. No commit of ours drops more than two.
  std::array<Dropped, 4> dropped_;
  size_t dropped_count_ = 0;
  bool defers_cycle_check_ = false;
  bool is_cycle_check_due_ = false;
  std::function<void(Inode&)> on_make_;
  std::function<void(std::unique_ptr<Inode>)> on_drop_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_H_
