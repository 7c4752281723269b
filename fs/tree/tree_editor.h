// TreeEditor: the changes of one commit, worked out as items. It stages them
// over a tree that stays as it is; what comes of them can be looked at before
// they are made to be true (LiveTree::Publish()), or be thrown away.
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
  // Over the tree of these layers, in which `totals` are. All that is pointed
  // to must outlive the editor.
  TreeEditor(absl::InlinedVector<const Overlay*, 3> layers,
             const StoredTree* stored, uint64_t seed, const TreeTotals& totals);
  TreeEditor(const TreeEditor&) = delete;
  TreeEditor& operator=(const TreeEditor&) = delete;

  // Makes the tree be as the change says. `time` is that of the commit; without
  // one, names do not touch the times of inodes. DATA_LOSS if the change
  // contradicts the tree, which then is as it was, or if a node that is needed
  // is damaged: then the editor is of no use.
  //
  // In a directory, a name that is dropped and put again keeps its place in the
  // order; and if an inode loses a name there that is not put again, and gets
  // another that is new, the new name has the place of the old.
  absl::Status Apply(const Change& change, std::optional<Timestamp> time);

  // The tree with all changes so far.
  const TreeReader& reader() const { return reader_; }
  const TreeTotals& totals() const { return totals_; }
  // The items that have changed. Once they are taken, the editor is of no use.
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

  // DATA_LOSS if there is no such inode, or it is (not) a directory.
  absl::StatusOr<InodeItem> ChangedInode(uint64_t ino) const;
  absl::StatusOr<InodeItem> ChangedDirectory(uint64_t ino) const;
  absl::StatusOr<InodeItem> ChangedFile(uint64_t ino) const;
  void Put(const InodeItem& inode);

  // Where a name that is put goes: the place that a dropped one has left, or a
  // new one.
  absl::StatusOr<uint64_t> PlaceFor(const PutName& change, uint64_t hash,
                                    InodeItem& parent);
  // Whether the directory may get a name in `parent`.
  absl::Status CheckMayHold(const InodeItem& directory,
                            const InodeItem& parent) const;
  // Takes the name away from its inode.
  absl::Status Unlink(NamePlace name, InodeItem& inode);

  // Counts size, data and extents of an inode in (+1) or out (-1).
  void CountContent(const InodeItem& inode, int sign);
  // Turns a whole entry into an ordinary extent, so that it can be patched.
  void ExpandWholeEntry(InodeItem& inode);
  // The range of `extent` is as it says.
  absl::Status LayOver(const Extent& extent, InodeItem& inode);
  // Joins it with its neighbours where they continue each other, and puts it.
  absl::Status PutJoined(Extent extent, InodeItem& inode);
  // There is nothing in [begin, end) of the file any more.
  absl::Status CutOut(uint64_t begin, uint64_t end, InodeItem& inode);
  void PutExtent(const Extent& extent, InodeItem& inode);
  void EraseExtent(const Extent& extent, InodeItem& inode);
  // Drops all extents or attributes of an inode.
  absl::Status EraseExtents(InodeItem& inode);
  // Whether the attribute was there.
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
  // The newest ones; more than two are in no commit of ours.
  std::array<Dropped, 4> dropped_;
  size_t dropped_count_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_EDITOR_H_
