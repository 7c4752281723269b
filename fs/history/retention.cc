#include "fs/history/retention.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"

namespace varve::fs {

std::vector<std::vector<std::string>> PlanRetention(
    const HistoryPolicy& policy, const std::vector<RetentionCase>& snapshots,
    absl::Time now) {
  std::vector<std::vector<std::string>> reasons(snapshots.size());
  // The automatic ones up to now, newest first.
  std::vector<size_t> order;
  for (size_t i = 0; i < snapshots.size(); ++i) {
    const RetentionCase& snapshot = snapshots[i];
    if (!snapshot.automatic) reasons[i].emplace_back("named");
    if (snapshot.held) reasons[i].emplace_back("held");
    if (snapshot.automatic && snapshot.time > now) {
      reasons[i].emplace_back("in the future");
    } else if (snapshot.automatic) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return snapshots[a].time > snapshots[b].time;
  });
  const absl::TimeZone zone = policy.TimeZone();
  for (size_t p = 0; p < kPeriods; ++p) {
    const auto period = static_cast<Period>(p);
    uint32_t kept = 0;
    std::optional<absl::Time> last;
    for (const size_t i : order) {
      if (kept == policy.KeepOf(period)) break;
      const absl::Time begin = BeginOf(period, snapshots[i].time, zone);
      if (last == begin) continue;
      last = begin;
      ++kept;
      reasons[i].push_back(absl::StrCat(RuleOf(period), " ", kept, " of ",
                                        policy.KeepOf(period)));
    }
  }
  for (const size_t i : order) {
    if (now - snapshots[i].time <= policy.within) {
      reasons[i].push_back(absl::StrCat("within=", FormatSpan(policy.within)));
    }
  }
  return reasons;
}

}  // namespace varve::fs
