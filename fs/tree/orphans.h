// Orphans: inodes without a name that live on because they are in use (open, or
// known to the kernel). They are items like those of the tree, so the same code
// reads and changes both. But they are only in memory.
//
// Thread rules: like a standard container.

#ifndef VARVE_FS_TREE_ORPHANS_H_
#define VARVE_FS_TREE_ORPHANS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "fs/format/change.h"
#include "fs/format/extent.h"
#include "fs/format/timestamp.h"
#include "fs/tree/items.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

class Orphans {
 public:
  Orphans();
  Orphans(const Orphans&) = delete;
  Orphans& operator=(const Orphans&) = delete;

  // The reader for orphans. It has nothing else, and no root directory.
  const TreeReader& reader() const { return reader_; }
  bool contains(uint64_t ino) const { return inos_.contains(ino); }
  // Calls `visit` with each orphan.
  void ForEach(absl::FunctionRef<void(const InodeItem&)> visit) const;
  // Calls `visit` with each extent of an orphan that is not a hole.
  void ForEachExtent(absl::FunctionRef<void(const Extent&)> visit) const;

  // Makes an orphan of an inode as `tree` has it, without its names. `lost_at`
  // is when it lost its last name; `accessed` is an access time that `tree`
  // does not have yet. Does nothing if `tree` does not have the inode.
  // DATA_LOSS if a node that is needed is damaged; then nothing has changed.
  absl::Status Adopt(const TreeReader& tree, uint64_t ino, Timestamp lost_at,
                     std::optional<Timestamp> accessed);
  // Applies a change of an inode, its content or its extended attributes: makes
  // an orphan or changes one. DATA_LOSS if the change contradicts what is
  // there.
  absl::Status Apply(const Change& change);
  // Replaces each extent by those that `move` returns for it.
  void MoveExtents(absl::FunctionRef<std::vector<Extent>(const Extent&)> move);
  // Removes an orphan; does nothing if the inode is not one.
  void Remove(uint64_t ino);

 private:
  Overlay items_;
  const StoredTree nothing_;
  const LayeredTree layers_;
  const TreeReader reader_;
  absl::flat_hash_set<uint64_t> inos_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_ORPHANS_H_
