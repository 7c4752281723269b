// HistoryPlan: which moments are to be kept by what reclaims space, as the
// store's policy has it.
//
// All moments of a window are kept, which begins at a checkpoint; and before
// it, those that are snapshots. The window has no moment from which something
// was purged: its commits would bring it back.

#ifndef VARVE_FS_HISTORY_HISTORY_PLAN_H_
#define VARVE_FS_HISTORY_HISTORY_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/history/policy.h"
#include "fs/log/core.h"
#include "fs/log/moments.h"

namespace varve::fs {

struct HistoryPlan {
  // All moments from this number on are kept.
  uint64_t kept_from = 0;
  // Everything in the store that ends above this offset is kept.
  uint64_t begin = 0;
  // The first moment of the window. Nothing if the window is empty, or has all
  // moments from the store's beginning on.
  std::optional<MomentLocation> oldest;
  // The snapshots before the window, in the order of their numbers.
  std::vector<MomentLocation> snapshots;
  // What is to be taken out of the trees of past moments.
  std::vector<PurgedPath> purged;

  // The snapshots and then `oldest`.
  std::vector<MomentLocation> LocationsBefore() const;
};

struct HistoryBounds {
  // Keep no window, whatever the policy says.
  bool forget = false;
  // How many bytes of the store are not in use by the newest tree, and how many
  // of them history may have (if the policy does not say "in any case").
  uint64_t dead_bytes = 0;
  uint64_t most_bytes = 0;
};

// How much history may have where so much is live.
inline uint64_t MostHistoryBytes(uint64_t live_bytes) {
  constexpr uint64_t kLeast = uint64_t{64} << 20;
  return std::max(live_bytes, kLeast);
}

// The policy of the store; that of a new store if it has none, or one that this
// version does not know. DATA_LOSS if a node of the tree is damaged.
absl::StatusOr<HistoryPolicy> PolicyOf(const Core& core)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// What is to be kept now. Call it with relocation_mu held, at least shared, or
// nobody else compacting. DATA_LOSS if what leads to past moments is damaged,
// or a snapshot cannot be found.
absl::StatusOr<HistoryPlan> PlanHistory(Core& core, Timestamp now,
                                        const HistoryBounds& bounds)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

// EAGAIN if a snapshot was made since that needs a moment before the plan's
// window.
absl::Status CheckPlan(const Core& core, const HistoryPlan& plan)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

// Commits that the moments before the plan's window are forgotten, unless they
// are already. EAGAIN as for CheckPlan().
absl::Status CommitPlan(Core& core, const HistoryPlan& plan, Timestamp now)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
        ABSL_LOCKS_EXCLUDED(core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_HISTORY_PLAN_H_
