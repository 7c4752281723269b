#include "fs/history/history_usage.h"

#include <optional>
#include <utility>

#include "engine/base/status.h"
#include "fs/btree/tree_diff.h"
#include "fs/history/kept_trees.h"
#include "fs/log/byte_ranges.h"
#include "fs/log/frozen_tree.h"
#include "fs/log/moments.h"
#include "fs/log/past_tree.h"

namespace varve::fs {
namespace {

// The content that one of two trees has, and the other not.
struct Step {
  ByteRanges gone;
  ByteRanges come;
};

absl::StatusOr<Step> Compare(const PastTree& before, const PastTree& after) {
  ByteRanges old_bytes;
  ByteRanges new_bytes;
  const auto add = [](const ItemDifference& item,
                      const std::optional<absl::string_view>& value,
                      ByteRanges& bytes) {
    if (!value.has_value()) return absl::OkStatus();
    return VisitExtentOf(item.key, *value, [&bytes](const Extent& extent) {
      bytes.Add(extent.store_offset, extent.store_offset + extent.length);
      return true;
    });
  };
  const absl::Status compared = DiffTrees(
      before.reader().items(), after.reader().items(), NodeSharing::kOneStore,
      [&](const ItemDifference& item) -> absl::StatusOr<bool> {
        VARVE_RETURN_IF_ERROR(add(item, item.before, old_bytes));
        VARVE_RETURN_IF_ERROR(add(item, item.after, new_bytes));
        return true;
      });
  VARVE_RETURN_IF_ERROR(compared);
  old_bytes.Finish();
  new_bytes.Finish();
  return Step{.gone = old_bytes.Without(new_bytes),
              .come = new_bytes.Without(old_bytes)};
}

// The first moment behind the snapshots that is kept.
absl::StatusOr<MomentLocation> LocationBehind(Core& core,
                                              const HistoryPlan& plan) {
  if (plan.oldest.has_value()) return *plan.oldest;
  uint64_t last = 0;
  {
    absl::MutexLock lock(&core.commit_mu);
    last = core.last_sequence;
  }
  return FinderOf(core).Find(last);
}

}  // namespace

absl::StatusOr<std::vector<MomentUsage>> FindMomentUsage(
    Core& core, const HistoryPlan& plan) {
  std::vector<MomentUsage> usage;
  if (plan.snapshots.empty()) return usage;
  std::vector<MomentLocation> places = plan.snapshots;
  VARVE_ASSIGN_OR_RETURN(const MomentLocation behind,
                         LocationBehind(core, plan));
  places.push_back(behind);
  ByteRanges come;
  const absl::Status compared =
      KeptTrees(core.store.get(), &core.identity, std::move(places),
                plan.purged)
          .ForEachTree([&](const PastTree* before,
                           const PastTree& tree) -> absl::StatusOr<bool> {
            if (before == nullptr) return true;
            VARVE_ASSIGN_OR_RETURN(Step step, Compare(*before, tree));
            // Nothing is kept before the first one.
            const ByteRanges own =
                usage.empty() ? step.gone : step.gone.Common(come);
            usage.push_back(
                {.moment = before->sequence(), .own_bytes = own.size()});
            come = std::move(step.come);
            return true;
          });
  VARVE_RETURN_IF_ERROR(compared);
  return usage;
}

}  // namespace varve::fs
