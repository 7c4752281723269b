// Orphans: inodes that have no name, and live on only because they are in use.
// They are items, as those of the tree are, so that the same code reads and
// changes both; but no store has them.
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

  // Of orphans alone: there is no root directory in it.
  const TreeReader& reader() const { return reader_; }
  bool contains(uint64_t ino) const { return inos_.contains(ino); }
  // Calls `visit` with each of them.
  void ForEach(absl::FunctionRef<void(const InodeItem&)> visit) const;
  // Calls `visit` with each extent of them that is not a hole.
  void ForEachExtent(absl::FunctionRef<void(const Extent&)> visit) const;

  // Takes an inode in as `tree` has it, but without its names; `lost_at` is
  // when it lost the last, and `accessed` when it was read, if the tree does
  // not know of that yet. Nothing happens if `tree` does not have it. DATA_LOSS
  // if a node that is needed is damaged; nothing has changed then.
  absl::Status Adopt(const TreeReader& tree, uint64_t ino, Timestamp lost_at,
                     std::optional<Timestamp> accessed);
  // Makes an orphan, or changes one, as the change says: one of an inode, its
  // content or its attributes. DATA_LOSS if it contradicts what is there.
  absl::Status Apply(const Change& change);
  // Has each extent lie where `move` says that its parts are.
  void MoveExtents(absl::FunctionRef<std::vector<Extent>(const Extent&)> move);
  // Forgets an orphan; nothing happens if it is none.
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
