#include "fs/history/kept_trees.h"

#include <memory>

#include "engine/base/status.h"
#include "fs/btree/tree_diff.h"
#include "fs/log/frozen_tree.h"
#include "fs/log/past_tree.h"

namespace varve::fs {

absl::Status KeptTrees::ForEachExtent(
    absl::FunctionRef<bool(const Extent&)> visit) const {
  std::unique_ptr<PastTree> before;
  for (const MomentPlace& place : places_) {
    VARVE_ASSIGN_OR_RETURN(std::unique_ptr<PastTree> tree,
                           PastTree::Open(store_, *identity_, place));
    bool goes_on = true;
    const auto visit_one = [&](const Extent& extent) {
      goes_on = visit(extent);
      return goes_on;
    };
    if (before == nullptr) {
      VARVE_RETURN_IF_ERROR(tree->ForEachExtent(visit_one));
    } else {
      VARVE_RETURN_IF_ERROR(
          DiffTrees(before->reader().items(), tree->reader().items(),
                    NodeSharing::kOneStore,
                    [&](const ItemDifference& item) -> absl::StatusOr<bool> {
                      if (!item.after.has_value()) return true;
                      const absl::Status visited =
                          VisitExtentOf(item.key, *item.after, visit_one);
                      if (!visited.ok()) return visited;
                      return goes_on;
                    }));
    }
    if (!goes_on) break;
    before = std::move(tree);
  }
  return absl::OkStatus();
}

absl::StatusOr<KeptTrees::Needed> KeptTrees::FindNeeded() const {
  Needed needed;
  for (const MomentPlace& place : places_) {
    uint64_t begin = 0;
    if (place.checkpoint != 0) {
      VARVE_ASSIGN_OR_RETURN(
          const Checkpoint checkpoint,
          ReadCheckpoint(*store_, *identity_, place.checkpoint));
      for (const Segment& segment : checkpoint.root.segments) {
        needed.segments.insert(segment.number);
      }
      begin = checkpoint.root.log_begin;
      needed.records.Add(checkpoint.location);
    }
    needed.records.Add(begin, place.end);
  }
  needed.records.Finish();
  return needed;
}

}  // namespace varve::fs
