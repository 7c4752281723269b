// StoredTree: a B+ tree whose nodes lie in a store, as a checkpoint wrote it.
// It never changes. TreeCursor walks over its items in the order of their keys.
//
// Thread-safe; a cursor belongs to one thread.

#ifndef VARVE_FS_BTREE_STORED_TREE_H_
#define VARVE_FS_BTREE_STORED_TREE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/node.h"
#include "fs/btree/node_reader.h"

namespace varve::fs {

// The runs of a leaf: the leaf and the deltas over it, newest first. Never
// empty.
using LeafRuns = absl::InlinedVector<NodeView, 2>;

// A range of keys: at or above `low`, and below `high` if there is one.
struct KeyRange {
  std::string low;
  std::optional<std::string> high;
};

class StoredTree {
 public:
  // The tree below `root`; the empty tree if that is nothing. `reader` must
  // outlive this object, and all values that it returns.
  StoredTree(const NodeReader* reader, std::optional<NodePointer> root)
      : reader_(reader), root_(root) {}

  // The value of a key, as a view of the store's mapping; nothing if there is
  // no such item. DATA_LOSS if a node on the way is damaged, or does not belong
  // there.
  absl::StatusOr<std::optional<absl::string_view>> Get(
      absl::string_view key) const;

  const std::optional<NodePointer>& root() const { return root_; }
  const NodeReader& reader() const { return *reader_; }

  // Reads an inner node. It must have this level (-1 for any, as for the root),
  // and all its keys must lie in this range. DATA_LOSS otherwise. So even in a
  // store that was forged no walk can go in circles. ReadLeaf() does the same
  // for a leaf and its deltas.
  absl::StatusOr<NodeView> ReadInner(const NodePointer& pointer, int level,
                                     const KeyRange& range) const;
  absl::StatusOr<LeafRuns> ReadLeaf(const NodePointer& pointer,
                                    const KeyRange& range) const;
  // The same for a node of any kind; for a leaf, only its newest run.
  absl::StatusOr<NodeView> ReadNode(const NodePointer& pointer, int level,
                                    const KeyRange& range) const;
  // Adds to `runs`, which holds the newest run of a leaf, the runs below it.
  absl::Status ReadBases(const KeyRange& range, LeafRuns* runs) const;

 private:
  const NodeReader* reader_;
  std::optional<NodePointer> root_;
};

// The index of the child in which `key` belongs, and the range of keys that a
// child may have. `range` is that of the inner node.
size_t ChildFor(const NodeView& inner, absl::string_view key);
KeyRange ChildRange(const NodeView& inner, size_t child, const KeyRange& range);

// The items of a leaf with its deltas laid over it, in order and without erased
// ones: the run that each comes from, and its index there.
struct RunItem {
  size_t run = 0;
  size_t index = 0;
};
std::vector<RunItem> MergeRuns(const LeafRuns& runs);

class TreeCursor {
 public:
  // At first the cursor stands nowhere. `tree` must outlive it.
  explicit TreeCursor(const StoredTree* tree) : tree_(tree) {}

  // Moves to the first item whose key is not below `key`. Like all moves, fails
  // with DATA_LOSS as StoredTree::Get() does.
  absl::Status Seek(absl::string_view key);
  // Moves to the last item whose key is not above `key`.
  absl::Status SeekAtOrBefore(absl::string_view key);
  // Moves to the next or previous item. The cursor must stand at one.
  absl::Status Next();
  absl::Status Previous();

  // Whether the cursor stands at an item, and that item. The key is valid until
  // the cursor moves; the value, as long as the tree's reader.
  bool valid() const { return position_ < items_.size(); }
  absl::string_view key() const { return key_; }
  absl::string_view value() const;

 private:
  struct Level {
    NodeView node;
    size_t child = 0;
    KeyRange range;
  };
  // Descends to the leaf in which `key` belongs.
  absl::Status Descend(absl::string_view key);
  // Descends from the last inner node in path_ to its first or last leaf.
  absl::Status DescendToEdge(bool last);
  absl::Status EnterLeaf(const NodePointer& pointer, const KeyRange& range);
  // Moves to the next or previous leaf; false if there is none.
  absl::StatusOr<bool> StepLeaf(bool forward);
  absl::Status SkipEmptyLeaves(bool forward);
  void SetKey();

  const StoredTree* const tree_;
  std::vector<Level> path_;  // the inner nodes, root first
  LeafRuns runs_;
  std::vector<RunItem> items_;
  size_t position_ = 0;
  std::string key_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_STORED_TREE_H_
