// DiffTrees: finds the items in which two trees differ.
//
// It walks over both stored trees side by side, and passes over subtrees that
// both share, without reading them. So the cost follows what differs, and what
// overlays hold; not how large the trees are. The memory follows their heights.
//
// Thread-safe: there is no state. The trees must not change during a call.

#ifndef VARVE_FS_BTREE_TREE_DIFF_H_
#define VARVE_FS_BTREE_TREE_DIFF_H_

#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/overlay.h"

namespace varve::fs {

// An item that only one tree has, or that has another value in each. The views
// are valid as long as the visitor that gets them runs.
struct ItemDifference {
  absl::string_view key;
  std::optional<absl::string_view> before;  // nothing if it was added
  std::optional<absl::string_view> after;   // nothing if it was erased
};

// Whether equal pointers in two trees are known to lead to the same node.
enum class NodeSharing {
  // They are not, because the trees lie in different stores. Everything is
  // read, so that no more depends on checksums than that nodes are sound.
  kNone,
  // They are: in both trees, a segment's number means the same segment. So it
  // is with two trees of one store, even if each has a NodeReader of its own.
  kOneStore,
};

// Calls `visit` with each item that differs, in the order of keys, until it
// returns false. Returns the error that `visit` returns, and DATA_LOSS if a
// node that is needed is damaged or does not belong where it is; `visit` may
// have been called with differences before it by then. Damage in a subtree that
// both trees share stays unnoticed. Each key in an overlay costs a lookup in
// both trees.
absl::Status DiffTrees(
    const LayeredTree& before, const LayeredTree& after, NodeSharing sharing,
    absl::FunctionRef<absl::StatusOr<bool>(const ItemDifference&)> visit);

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_TREE_DIFF_H_
