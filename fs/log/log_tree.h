// LogTree: the tree as it lies in the log: its newest state, and the segments
// that the nodes of its last checkpoint are in.
//
// Thread rules: those of LiveTree.

#ifndef VARVE_FS_LOG_LOG_TREE_H_
#define VARVE_FS_LOG_LOG_TREE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/btree/node_reader.h"
#include "fs/log/node_segments.h"
#include "fs/log/tree_root.h"
#include "fs/tree/live_tree.h"

namespace varve::fs {

struct LogTree {
  // The tree that `root` leads to, or a new one that is empty. `store` must
  // outlive it; `seed` as for TreeReader. DATA_LOSS if the root is damaged.
  static absl::StatusOr<std::shared_ptr<LogTree>> Open(
      Store* store, std::optional<TreeRoot> root, uint64_t seed);

  explicit LogTree(Store* store) : segments(store), nodes(&segments) {}

  // Those without a live byte are needed by the checkpoint before the last
  // alone, and forgotten with the next one.
  NodeSegments segments;
  const NodeReader nodes;
  std::unique_ptr<LiveTree> live;
  uint32_t next_segment = 1;
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_LOG_TREE_H_
