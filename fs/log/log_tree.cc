#include "fs/log/log_tree.h"

#include <utility>

#include "engine/base/status.h"

namespace varve::fs {

absl::StatusOr<std::shared_ptr<LogTree>> LogTree::Open(
    Store* store, std::optional<TreeRoot> root, uint64_t seed) {
  auto tree = std::make_shared<LogTree>(store);
  std::optional<NodePointer> node;
  if (root.has_value()) {
    node = root->root;
    tree->next_segment = root->next_segment;
    for (const Segment& segment : root->segments) tree->segments.Add(segment);
  }
  VARVE_ASSIGN_OR_RETURN(tree->live, LiveTree::Open(&tree->nodes, node, seed));
  return tree;
}

}  // namespace varve::fs
