// TreeEditor: works out the items that the changes of one commit put or erase.
// It stages them in an overlay over a tree that it does not change. The result
// can be read before it is published (LiveTree::Publish()), or be discarded.
//
// Not thread-safe. The layers below must not change while it lives.

#ifndef VARVE_FS_TREE_TREE_EDITOR_H_
#define VARVE_FS_TREE_TREE_EDITOR_H_

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "fs/btree/overlay.h"
#include "fs/format/change.h"
#include "fs/tree/items.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

class TreeEditor {
 public:
  // Edits the tree that consists of these layers and has these totals. The
  // layers must outlive the editor. `seed` as for TreeReader.
  TreeEditor(absl::InlinedVector<const Overlay*, 3> layers,
             const StoredTree* stored, uint64_t seed, const TreeTotals& totals);
  TreeEditor(const TreeEditor&) = delete;
  TreeEditor& operator=(const TreeEditor&) = delete;

  // Applies a change. `time` is that of the commit; without one, changes of
  // names do not set the times of inodes. DATA_LOSS if the change contradicts
  // the tree; then nothing is staged for it. DATA_LOSS also if a node that is
  // needed is damaged; then the editor must be discarded.
  //
  // A name that is dropped and put again in its directory keeps its place in
  // the order. If one name of an inode is dropped and a new one is put in the
  // same directory, the new name takes the place of the old.
  absl::Status Apply(const Change& change, std::optional<Timestamp> time);

  // The tree with all changes so far.
  const TreeReader& reader() const { return reader_; }
  const TreeTotals& totals() const { return totals_; }
  // The items that have changed. After TakeStaged(), the editor must not be
  // used.
  const Overlay& staged() const { return staged_; }
  Overlay TakeStaged() { return std::move(staged_); }

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
  // tree_editor_history.cc
  absl::Status Do(const PutSnapshot& change, std::optional<Timestamp> time);
  absl::Status Do(const DropSnapshot& change, std::optional<Timestamp> time);
  absl::Status Do(const ForgetBefore& change, std::optional<Timestamp> time);
  absl::Status Do(const SetPolicy& change, std::optional<Timestamp> time);
  absl::Status Do(const NoteAuthor& change, std::optional<Timestamp> time);
  absl::Status Do(const PurgePath& change, std::optional<Timestamp> time);

  // The inode that a change names. DATA_LOSS if there is none, or it is not
  // (or, for ChangedFile(), is) a directory.
  absl::StatusOr<InodeItem> ChangedInode(uint64_t ino) const;
  absl::StatusOr<InodeItem> ChangedDirectory(uint64_t ino) const;
  absl::StatusOr<InodeItem> ChangedFile(uint64_t ino) const;
  void Put(const InodeItem& inode);

  // The place for a name that is put: that of a dropped name, or a new one.
  absl::StatusOr<uint64_t> PlaceFor(const PutName& change, uint64_t hash,
                                    InodeItem& parent);
  // DATA_LOSS if the directory may not get a name in `parent`.
  absl::Status CheckMayHold(const InodeItem& directory,
                            const InodeItem& parent) const;
  // Removes the name from its inode.
  absl::Status Unlink(NamePlace name, InodeItem& inode);

  // Adds (sign +1) or subtracts (-1) size, data and extents of an inode to or
  // from the totals.
  void CountContent(const InodeItem& inode, int sign);
  // Turns a whole entry into an ordinary extent, so that it can be patched.
  void ExpandWholeEntry(InodeItem& inode);
  // Lays `extent` over the content of the file.
  absl::Status LayOver(const Extent& extent, InodeItem& inode);
  // Puts an extent, joined with its neighbours if they continue each other.
  absl::Status PutJoined(Extent extent, InodeItem& inode);
  // Removes all extents in [begin, end) of the file.
  absl::Status CutOut(uint64_t begin, uint64_t end, InodeItem& inode);
  void PutExtent(const Extent& extent, InodeItem& inode);
  void EraseExtent(const Extent& extent, InodeItem& inode);
  // Drops all extents or attributes of an inode.
  absl::Status EraseExtents(InodeItem& inode);
  // Returns whether the attribute was there.
  absl::StatusOr<bool> EraseXattr(uint64_t ino, absl::string_view name);

  // A name that was dropped by this commit.
  struct Dropped {
    NamePlace name;
    uint64_t ino;
    uint64_t hash;
  };

  Overlay staged_;
  const LayeredTree items_;
  const TreeReader reader_;
  TreeTotals totals_;
  // The names dropped last. No commit of ours drops more than two.
  std::array<Dropped, 4> dropped_;
  size_t dropped_count_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_EDITOR_H_
