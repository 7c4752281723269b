#include "fs/history/kept_trees.h"

#include <memory>
#include <utility>

#include "engine/base/status.h"
#include "fs/btree/tree_diff.h"
#include "fs/log/frozen_tree.h"
#include "fs/log/past_tree.h"

namespace varve::fs {

absl::Status KeptTrees::ForEachTree(
    absl::FunctionRef<absl::StatusOr<bool>(const PastTree* before,
                                           const PastTree& tree)>
        visit) const {
  std::unique_ptr<PastTree> before;
  for (const MomentLocation& place : places_) {
    VARVE_ASSIGN_OR_RETURN(std::unique_ptr<PastTree> tree,
                           PastTree::Open(store_, *identity_, place, purged_));
    VARVE_ASSIGN_OR_RETURN(const bool goes_on, visit(before.get(), *tree));
    if (!goes_on) break;
    before = std::move(tree);
  }
  return absl::OkStatus();
}

absl::Status KeptTrees::ForEachExtent(
    absl::FunctionRef<bool(const Extent&)> visit) const {
  bool goes_on = true;
  const auto visit_one = [&](const Extent& extent) {
    goes_on = visit(extent);
    return goes_on;
  };
  return ForEachTree([&](const PastTree* before,
                         const PastTree& tree) -> absl::StatusOr<bool> {
    if (before == nullptr) {
      VARVE_RETURN_IF_ERROR(tree.ForEachExtent(visit_one));
      return goes_on;
    }
    const absl::Status compared = DiffTrees(
        before->reader().items(), tree.reader().items(), NodeSharing::kOneStore,
        [&](const ItemDifference& item) -> absl::StatusOr<bool> {
          if (!item.after.has_value()) return true;
          VARVE_RETURN_IF_ERROR(
              VisitExtentOf(item.key, *item.after, visit_one));
          return goes_on;
        });
    VARVE_RETURN_IF_ERROR(compared);
    return goes_on;
  });
}

absl::StatusOr<KeptTrees::Needed> KeptTrees::FindNeeded() const {
  Needed needed;
  for (const MomentLocation& place : places_) {
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
