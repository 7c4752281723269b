// StoredTree: a B+ tree whose nodes lie in a store, as one checkpoint left it.
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

// A leaf and the deltas over it, the newest first. Never empty.
using LeafRuns = absl::InlinedVector<NodeView, 2>;

// A range of keys: from `low` on, and below `high` if there is one.
struct KeyRange {
  std::string low;
  std::optional<std::string> high;
};

class StoredTree {
 public:
  // The tree below `root`; the empty one if that is nothing. `reader` must
  // outlive it, and all values that come from it.
  StoredTree(const NodeReader* reader, std::optional<NodePointer> root)
      : reader_(reader), root_(root) {}

  // The value of a key, in the store's map; nothing if there is no such item.
  // DATA_LOSS if a node on the way is damaged, or is not what belongs there.
  absl::StatusOr<std::optional<absl::string_view>> Get(
      absl::string_view key) const;

  const std::optional<NodePointer>& root() const { return root_; }
  const NodeReader& reader() const { return *reader_; }

  // What belongs at a place in the tree: a node of this level (any for the
  // root, below 0) with keys in this range only. DATA_LOSS for anything else,
  // whatever the store was made up to hold: so that no walk can go in circles.
  absl::StatusOr<NodeView> ReadInner(const NodePointer& pointer, int level,
                                     const KeyRange& range) const;
  absl::StatusOr<LeafRuns> ReadLeaf(const NodePointer& pointer,
                                    const KeyRange& range) const;
  // Either of them, as the level says: of a leaf only its newest run.
  absl::StatusOr<NodeView> ReadNode(const NodePointer& pointer, int level,
                                    const KeyRange& range) const;
  // Adds the runs below the newest one, which `runs` holds already.
  absl::Status ReadBases(const KeyRange& range, LeafRuns* runs) const;

 private:
  const NodeReader* reader_;
  std::optional<NodePointer> root_;
};

// The child of an inner node in which `key` belongs, and what may be in it;
// `range` is that of the inner node.
size_t ChildFor(const NodeView& inner, absl::string_view key);
KeyRange ChildRange(const NodeView& inner, size_t child, const KeyRange& range);

// The items of a leaf with its deltas laid over it, in order: which run each
// comes from, and its index there. Erased ones are left out.
struct RunItem {
  size_t run = 0;
  size_t index = 0;
};
std::vector<RunItem> MergeRuns(const LeafRuns& runs);

class TreeCursor {
 public:
  // Stands nowhere at first. `tree` must outlive it.
  explicit TreeCursor(const StoredTree* tree) : tree_(tree) {}

  // To the first item whose key is not below `key`.
  absl::Status Seek(absl::string_view key);
  // To the last item whose key is not above `key`.
  absl::Status SeekAtOrBefore(absl::string_view key);
  // To the next item, or the one before. The cursor must stand at one.
  absl::Status Next();
  absl::Status Previous();

  // Whether it stands at an item, and what that is. Valid until the cursor
  // moves; the value as long as the tree's reader.
  bool valid() const { return position_ < items_.size(); }
  absl::string_view key() const { return key_; }
  absl::string_view value() const;

 private:
  struct Level {
    NodeView node;
    size_t child = 0;
    KeyRange range;
  };
  // Goes down to the leaf in which `key` belongs.
  absl::Status Descend(absl::string_view key);
  // Goes down from the lowest inner node on the stack, to its first or its
  // last leaf.
  absl::Status DescendToEdge(bool last);
  absl::Status EnterLeaf(const NodePointer& pointer, const KeyRange& range);
  // To the next or the one before of the leaves that have items; false if there
  // is none.
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
