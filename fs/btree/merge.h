// Merging an overlay into a stored tree: what a checkpoint writes. Only nodes
// that change are written, and all of them are new; the tree that there was
// stays as it is.
//
// A leaf in which little changes is not written again but gets a delta (see
// node.h), until its deltas are too many or too large. Leaves and inner nodes
// that become small are joined with their neighbours.
//
// Memory: for one leaf, and for the pointers to the nodes that are written.
// Thread-safe, as no state is kept; the overlay must not change meanwhile.

#ifndef VARVE_FS_BTREE_MERGE_H_
#define VARVE_FS_BTREE_MERGE_H_

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/node.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"

namespace varve::fs {

// Where new nodes go. Used by one thread.
class NodeSink {
 public:
  virtual ~NodeSink() = default;

  // Writes a node, behind those before it, and returns what leads to it. A
  // node is written after those that it leads to. Errors are the sink's own.
  virtual absl::StatusOr<NodePointer> Append(absl::string_view node) = 0;
  // Says that the new tree does without a node: one of the old tree, or one
  // that has been appended in vain.
  virtual void Retire(const NodePointer& node) = 0;
};

// The root of the tree that `stored` is with `changes` laid over it; nothing if
// that is empty. It is stored's own if there are no changes. Fails with
// DATA_LOSS where a node that is needed is damaged, and with what the sink
// says; what has been written then leads nowhere.
absl::StatusOr<std::optional<NodePointer>> MergeOverlay(
    const StoredTree& stored, const Overlay& changes, NodeSink* sink);

// The root of a new tree that has all of these items, and shares no node with
// theirs; nothing if there are none. Fails as MergeOverlay() does.
absl::StatusOr<std::optional<NodePointer>> BuildTree(const LayeredTree& items,
                                                     NodeSink* sink);

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_MERGE_H_
