// What the kept past costs.

#ifndef VARVE_FS_HISTORY_HISTORY_USAGE_H_
#define VARVE_FS_HISTORY_HISTORY_USAGE_H_

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "fs/history/history_plan.h"
#include "fs/log/core.h"

namespace varve::fs {

struct MomentUsage {
  uint64_t moment = 0;
  // Bytes of content that it has, and neither the kept moment before it nor the
  // one behind it.
  uint64_t own_bytes = 0;
};

// For each moment before the plan's window that is a snapshot, oldest first,
// what would be free if it were not kept. Takes time in proportion to what has
// changed between them. (Content that was gone, and came back by restoring it,
// counts as own of those moments that had it on both sides of the gap, if they
// are the last and the first to have it.) The store must stay where it is: hold
// relocation_mu. DATA_LOSS if a tree cannot be read.
absl::StatusOr<std::vector<MomentUsage>> FindMomentUsage(
    Core& core, const HistoryPlan& plan)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_HISTORY_USAGE_H_
