// Retention: which snapshots a policy keeps, and why. (Like `restic forget`,
// but spans count from now, and what lies in the future is never removed.)
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_HISTORY_RETENTION_H_
#define VARVE_FS_HISTORY_RETENTION_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "fs/history/policy.h"

namespace varve::fs {

// What the rules look at of a snapshot.
struct RetentionCase {
  absl::Time time;
  bool automatic = false;
  bool held = false;
};

// For each snapshot the rules that keep it, such as "named", "held",
// "within=1d" or "hourly 3 of 48"; none if the policy removes it. The order of
// the snapshots does not matter.
std::vector<std::vector<std::string>> PlanRetention(
    const HistoryPolicy& policy, const std::vector<RetentionCase>& snapshots,
    absl::Time now);

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_RETENTION_H_
