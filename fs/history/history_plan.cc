#include "fs/history/history_plan.h"

#include <errno.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/history/moment_names.h"
#include "fs/log/commit.h"

namespace varve::fs {
namespace {

// What the newest tree says of history.
struct Present {
  uint64_t checkpoint = 0;
  uint64_t checkpoint_before = 0;
  uint64_t tail = 0;
  uint64_t last_sequence = 0;
  uint64_t kept_from = 0;
  HistoryPolicy policy;
  std::vector<MomentLocation> snapshots;
  std::vector<PurgedPath> purged;

  // The number of the first moment that may be in the window.
  uint64_t FirstOfWindow() const {
    uint64_t first = kept_from;
    for (const PurgedPath& path : purged) first = std::max(first, path.before);
    return first;
  }
};

// Nobody may give away what a snapshot needs that cannot be found for the
// moment.
absl::Status CheckSnapshots(const Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
        ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu) {
  std::string lost;
  VARVE_RETURN_IF_ERROR(
      core.reader().ForEachSnapshot([&](const SnapshotItem& snapshot) {
        const MomentLocation place = {.sequence = snapshot.sequence};
        if (!std::binary_search(core.snapshots.begin(), core.snapshots.end(),
                                place, IsBefore)) {
          lost = std::string(snapshot.name);
        }
        return lost.empty();
      }));
  if (lost.empty()) return absl::OkStatus();
  return DamageError(absl::StrCat(
      "the snapshot '", lost,
      "' cannot be found; nothing is reclaimed before it is deleted (varve "
      "snapshot delete), or the store repaired (varve check --repair)"));
}

absl::StatusOr<Present> ReadPresent(Core& core)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu) {
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::ReaderMutexLock lock(&core.tree_mu);
  Present present = {.checkpoint = core.checkpoint,
                     .checkpoint_before = core.checkpoint_before,
                     .tail = core.store->tail(),
                     .last_sequence = core.last_sequence,
                     .snapshots = core.snapshots};
  VARVE_RETURN_IF_ERROR(CheckSnapshots(core));
  VARVE_ASSIGN_OR_RETURN(present.kept_from, core.reader().KeptFrom());
  VARVE_ASSIGN_OR_RETURN(present.policy, PolicyOf(core));
  VARVE_ASSIGN_OR_RETURN(present.purged, core.reader().PurgedPaths());
  return present;
}

// Finds where the window begins.
class WindowFinder {
 public:
  WindowFinder(Core& core, const Present& present, Timestamp now,
               const HistoryBounds& bounds)
      : core_(core),
        present_(present),
        bounds_(bounds),
        first_(present.FirstOfWindow()),
        since_(ToTimestamp(ToTime(now) - present.policy.within)) {}

  absl::StatusOr<HistoryPlan> Find() const;

 private:
  // Whether history may reach back to this offset.
  bool HasRoomFor(uint64_t begin) const {
    return present_.policy.hard || bounds_.dead_bytes <= bounds_.most_bytes ||
           present_.tail - begin <= bounds_.most_bytes;
  }
  HistoryPlan Nothing() const {
    return {.kept_from = present_.last_sequence, .begin = present_.tail};
  }
  HistoryPlan Everything() const { return {}; }
  static HistoryPlan From(const Checkpoint& checkpoint) {
    const uint64_t begin = checkpoint.root.log_begin;
    return {
        .kept_from = checkpoint.header.sequence,
        .begin = begin,
        .oldest = MomentLocation{checkpoint.header.sequence,
                                 checkpoint.location.metadata_offset(), begin}};
  }

  Core& core_;
  const Present& present_;
  const HistoryBounds& bounds_;
  const uint64_t first_;
  const Timestamp since_;
};

absl::StatusOr<HistoryPlan> WindowFinder::Find() const {
  if (bounds_.forget || present_.policy.within <= absl::ZeroDuration()) {
    return Nothing();
  }
  std::optional<HistoryPlan> plan;
  for (uint64_t at = present_.checkpoint; at != 0;) {
    VARVE_ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                           ReadCheckpoint(*core_.store, core_.identity, at));
    if (checkpoint.header.sequence < first_ ||
        !HasRoomFor(checkpoint.root.log_begin)) {
      return plan.value_or(Nothing());
    }
    plan = From(checkpoint);
    // From the checkpoint before the last on everything is kept in any case, so
    // the window should not begin behind it without need. And all that is
    // younger than the policy asks for is in the window now.
    const bool may_be_last =
        at != present_.checkpoint || present_.checkpoint_before == 0;
    if (may_be_last && checkpoint.root.time <= since_) return *plan;
    at = checkpoint.root.previous;
  }
  // A store that was compacted does not have its first commits.
  if (first_ > 0 || !HasRoomFor(0)) {
    return plan.value_or(Nothing());
  }
  return Everything();
}

}  // namespace

std::vector<MomentLocation> HistoryPlan::LocationsBefore() const {
  std::vector<MomentLocation> places = snapshots;
  if (oldest.has_value()) places.push_back(*oldest);
  return places;
}

absl::StatusOr<HistoryPolicy> PolicyOf(const Core& core) {
  VARVE_ASSIGN_OR_RETURN(const auto text, core.reader().Policy());
  const auto policy = HistoryPolicy::Parse(
      text.has_value() ? absl::string_view(*text) : HistoryPolicy::kDefault);
  return policy.ok() ? *policy : HistoryPolicy();
}

absl::StatusOr<HistoryPlan> PlanHistory(Core& core, Timestamp now,
                                        const HistoryBounds& bounds) {
  VARVE_ASSIGN_OR_RETURN(const Present present, ReadPresent(core));
  VARVE_ASSIGN_OR_RETURN(HistoryPlan plan,
                         WindowFinder(core, present, now, bounds).Find());
  std::copy_if(present.snapshots.begin(), present.snapshots.end(),
               std::back_inserter(plan.snapshots),
               [&plan](const MomentLocation& place) {
                 return place.sequence < plan.kept_from;
               });
  plan.purged = present.purged;
  return plan;
}

absl::Status CheckPlan(const Core& core, const HistoryPlan& plan) {
  for (const MomentLocation& place : core.snapshots) {
    if (place.sequence < plan.kept_from &&
        !std::binary_search(plan.snapshots.begin(), plan.snapshots.end(), place,
                            IsBefore)) {
      return SystemError(
          EAGAIN, "a snapshot of an old moment was made meanwhile; try again");
    }
  }
  return absl::OkStatus();
}

absl::Status CommitPlan(Core& core, const HistoryPlan& plan, Timestamp now) {
  VARVE_RETURN_IF_ERROR(CheckPlan(core, plan));
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const uint64_t before, core.reader().KeptFrom());
    if (before >= plan.kept_from) return absl::OkStatus();
  }
  Commit commit(core, now);
  commit.UseReserve();
  commit.Add(ForgetBefore{plan.kept_from});
  return commit.Finish();
}

}  // namespace varve::fs
