// LogTree: the tree as it lies in the store: its newest state, and the segments
// that hold the nodes of its last checkpoints.
//
// Thread rules: as LiveTree.

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
  // Opens the tree at `root`, or makes an empty one if that is nothing. `store`
  // must outlive the tree; `seed` as for TreeReader. DATA_LOSS if the root node
  // is damaged.
  static absl::StatusOr<std::shared_ptr<LogTree>> Open(
      Store* store, std::optional<TreeRoot> root, uint64_t seed);

  explicit LogTree(Store* store) : segments(store), nodes(&segments) {}

  // Segments without a live byte are needed only by the checkpoint before the
  // last. The next checkpoint removes them.
  NodeSegments segments;
  const NodeReader nodes;
  std::unique_ptr<LiveTree> live;
  uint32_t next_segment = 1;
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_LOG_TREE_H_
