// Merging an overlay into a stored tree, as a checkpoint does. Copy-on-write: a
// merge writes new nodes in place of those that change, and leaves the stored
// tree as it is.
//
// A leaf in which little changes gets a delta (see node.h) instead of being
// rewritten, until its deltas are too many or too large. Leaves and inner nodes
// that become small are joined with their neighbours.
//
// A merge takes memory for one leaf, and for the pointers to the nodes that it
// writes. Thread-safe: there is no state. The overlay must not change during
// the call.

#ifndef VARVE_FS_BTREE_MERGE_H_
#define VARVE_FS_BTREE_MERGE_H_

#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/node.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"

namespace varve::fs {

// Receives new nodes. Used by one thread.
class NodeSink {
 public:
  virtual ~NodeSink() = default;

  // Writes a node and returns the pointer to it. A node is appended after the
  // nodes that it points to. Errors are the sink's own.
  virtual absl::StatusOr<NodePointer> Append(absl::string_view node) = 0;
  // Reports that the new tree does not use a node: one of the old tree, or one
  // that was appended in vain.
  virtual void Retire(const NodePointer& node) = 0;
};

// Writes the tree that results from laying `changes` over `stored`, and returns
// its root; nothing if it is empty. If there are no changes, that is the root
// of `stored`. Errors: DATA_LOSS if a node that is needed is damaged, and those
// of the sink. After an error, the appended nodes are unused.
absl::StatusOr<std::optional<NodePointer>> MergeOverlay(
    const StoredTree& stored, const Overlay& changes, NodeSink* sink);

// Gives items to `add`, in the order of their keys, and ends with the first
// error that it returns.
using AddItem = absl::FunctionRef<absl::Status(absl::string_view key,
                                               absl::string_view value)>;
using ItemSource = absl::FunctionRef<absl::Status(AddItem add)>;

// The root of a new tree that has all of these items; nothing if there are
// none. Fails as the source or the sink does.
absl::StatusOr<std::optional<NodePointer>> BuildTree(ItemSource items,
                                                     NodeSink* sink);
// The same of the items of another tree, with which it shares no node. Fails as
// MergeOverlay() does, too.
absl::StatusOr<std::optional<NodePointer>> BuildTree(const LayeredTree& items,
                                                     NodeSink* sink);

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_MERGE_H_
