#include "fs/volume/history.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/compaction/live_bytes.h"
#include "fs/history/automatic_snapshots.h"
#include "fs/history/commit_log.h"
#include "fs/history/history_plan.h"
#include "fs/history/history_usage.h"
#include "fs/history/kept_trees.h"
#include "fs/history/moment_names.h"
#include "fs/history/policy.h"
#include "fs/log/checkpoint.h"
#include "fs/log/commit.h"
#include "fs/volume/inodes_in_use.h"
#include "fs/volume/restorer.h"

namespace varve::fs {
namespace {

Snapshot ToSnapshot(const SnapshotItem& item) {
  return {.name = std::string(item.name),
          .sequence = item.sequence,
          .time = item.time,
          .held = item.is_held(),
          .automatic = item.is_automatic()};
}

PutSnapshot PutOf(const Snapshot& snapshot, absl::string_view name, bool held) {
  PutSnapshot put = {
      .sequence = snapshot.sequence, .time = snapshot.time, .name = name};
  if (held) put.flags |= PutSnapshot::kHeld;
  if (snapshot.automatic) put.flags |= PutSnapshot::kAutomatic;
  return put;
}

absl::Status CheckSnapshotName(absl::string_view name) {
  if (IsValidName(name)) return absl::OkStatus();
  return SystemError(
      name.size() > kMaxNameSize ? ENAMETOOLONG : EINVAL,
      absl::StrCat("'", name,
                   "' cannot be the name of a snapshot: it must have 1 to 255 "
                   "bytes without '/', and not be '.' or '..'"));
}

absl::Status NoSnapshot(absl::string_view name) {
  return SystemError(ENOENT, absl::StrCat("there is no snapshot '", name, "'"));
}

absl::Status HeldError(absl::string_view name) {
  return SystemError(EBUSY,
                     absl::StrCat("the snapshot '", name,
                                  "' is held; release it with `varve snapshot "
                                  "release` first"));
}

}  // namespace

absl::StatusOr<MomentLocation> History::FindMoment(absl::string_view text) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  return ResolveMoment(core_, text, context_.options.now());
}

absl::StatusOr<std::unique_ptr<PastTree>> History::OpenMoment(
    absl::string_view text) {
  VARVE_ASSIGN_OR_RETURN(const MomentLocation place,
                         ResolveMoment(core_, text, context_.options.now()));
  VARVE_ASSIGN_OR_RETURN(const std::vector<PurgedPath> purged,
                         ReadPurgedPaths(core_));
  return PastTree::Open(core_.store.get(), core_.identity, place, purged);
}

absl::StatusOr<std::vector<Snapshot>> History::Snapshots() {
  std::vector<Snapshot> snapshots;
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_RETURN_IF_ERROR(
      core_.reader().ForEachSnapshot([&](const SnapshotItem& item) {
        snapshots.push_back(ToSnapshot(item));
        return true;
      }));
  return snapshots;
}

absl::StatusOr<std::optional<Snapshot>> History::FindSnapshot(
    absl::string_view name) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const auto found, core_.reader().FindSnapshot(name));
  if (!found.has_value()) return std::optional<Snapshot>();
  return std::optional(ToSnapshot(*found));
}

absl::StatusOr<Snapshot> History::CreateSnapshot(absl::string_view name,
                                                 absl::string_view at) {
  if (at == "now") {
    VARVE_ASSIGN_OR_RETURN(const auto made, CreateSnapshotNow(name));
    return made.first;
  }
  VARVE_RETURN_IF_ERROR(CheckSnapshotName(name));
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto past, OpenMoment(at));
  absl::MutexLock commit_lock(&core_.commit_mu);
  VARVE_RETURN_IF_ERROR(CheckNoSnapshot(name));
  // It may have been forgotten since.
  VARVE_ASSIGN_OR_RETURN(const bool is_kept, IsKept(past->sequence()));
  if (!is_kept) {
    return absl::NotFoundError(
        absl::StrCat("the moment '", at, "' is no longer kept"));
  }
  return CommitSnapshot({.name = std::string(name),
                         .sequence = past->sequence(),
                         .time = past->time()});
}

absl::StatusOr<std::pair<Snapshot, Stat>> History::CreateSnapshotNow(
    absl::string_view name) {
  VARVE_RETURN_IF_ERROR(CheckSnapshotName(name));
  std::optional<std::pair<Snapshot, Stat>> made;
  const auto commit = [&]() -> absl::StatusOr<bool> {
    core_.commit_mu.AssertHeld();
    VARVE_RETURN_IF_ERROR(CheckNoSnapshot(name));
    VARVE_ASSIGN_OR_RETURN(const Snapshot snapshot,
                           CommitSnapshot({.name = std::string(name)}));
    // The tree does not change before commit_mu is released.
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const InodeItem root,
                           core_.reader().GetInode(kRootIno));
    made.emplace(snapshot, ToStat(root));
    return true;
  };
  const absl::Status status = CommitMoment(commit);
  if (!made.has_value()) return status;
  // Without the checkpoint, opening the snapshot takes longer.
  context_.incidents.Report(status);
  return *made;
}

absl::Status History::CommitMoment(
    absl::FunctionRef<absl::StatusOr<bool>()> commit) {
  if (MomentNeedsCheckpoint(core_)) {
    return WriteCheckpointOf(core_, context_.options.now(), commit);
  }
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  absl::MutexLock commit_lock(&core_.commit_mu);
  return commit().status();
}

absl::Status History::CheckNoSnapshot(absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(const auto taken, FindSnapshot(name));
  if (!taken.has_value()) return absl::OkStatus();
  return SystemError(EEXIST,
                     absl::StrCat("there is a snapshot '", name, "' already"));
}

absl::StatusOr<Snapshot> History::CommitSnapshot(Snapshot snapshot) {
  Commit commit(core_, context_.options.now());
  if (snapshot.sequence == 0) {
    snapshot.sequence = commit.sequence();
    snapshot.time = std::max(core_.latest_time, commit.time());
  }
  commit.Add(PutOf(snapshot, snapshot.name, snapshot.held));
  VARVE_RETURN_IF_ERROR(commit.Finish());
  return snapshot;
}

absl::StatusOr<bool> History::IsKept(uint64_t sequence) {
  for (const MomentLocation& place : core_.snapshots) {
    if (place.sequence == sequence) return true;
  }
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const uint64_t kept_from, core_.reader().KeptFrom());
  return sequence >= kept_from;
}

absl::Status History::ChangeSnapshot(
    absl::string_view name,
    absl::FunctionRef<absl::Status(const Snapshot&, Commit&)> change) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  absl::MutexLock commit_lock(&core_.commit_mu);
  VARVE_ASSIGN_OR_RETURN(const auto found, FindSnapshot(name));
  if (!found.has_value()) return NoSnapshot(name);
  Commit commit(core_, context_.options.now());
  // It makes room.
  commit.UseReserve();
  commit.Add(DropSnapshot{name});
  VARVE_RETURN_IF_ERROR(change(*found, commit));
  return commit.Finish();
}

absl::Status History::DeleteSnapshot(absl::string_view name) {
  return ChangeSnapshot(name, [&](const Snapshot& snapshot, Commit&) {
    return snapshot.held ? HeldError(name) : absl::OkStatus();
  });
}

absl::Status History::RenameSnapshot(absl::string_view name,
                                     absl::string_view new_name) {
  if (name == new_name) {
    VARVE_ASSIGN_OR_RETURN(const auto found, FindSnapshot(name));
    return found.has_value() ? absl::OkStatus() : NoSnapshot(name);
  }
  VARVE_RETURN_IF_ERROR(CheckSnapshotName(new_name));
  return ChangeSnapshot(
      name, [&](const Snapshot& snapshot, Commit& commit) -> absl::Status {
        core_.commit_mu.AssertHeld();
        VARVE_RETURN_IF_ERROR(CheckNoSnapshot(new_name));
        // What a user gives a name is no longer the policy's to remove.
        Snapshot renamed = snapshot;
        renamed.automatic = false;
        commit.Add(PutOf(renamed, new_name, snapshot.held));
        return absl::OkStatus();
      });
}

absl::Status History::HoldSnapshot(absl::string_view name, bool hold) {
  return ChangeSnapshot(name, [&](const Snapshot& snapshot, Commit& commit) {
    commit.Add(PutOf(snapshot, name, hold));
    return absl::OkStatus();
  });
}

absl::StatusOr<RestoreReport> History::RestoreFrom(
    const PastTree& past, const RestoreRequest& request, StaleNames* names) {
  absl::MutexLock commit_lock(&core_.commit_mu);
  Restorer restorer(core_, past, request);
  VARVE_RETURN_IF_ERROR(restorer.Plan(core_.next_ino));
  if (request.dry_run || restorer.empty()) return restorer.report();
  Commit commit(core_, context_.options.now());
  for (uint64_t i = 0; i < restorer.new_inodes(); ++i) commit.NewIno();
  restorer.AddTo(commit);
  VARVE_RETURN_IF_ERROR(commit.Finish());
  *names = restorer.names();
  return restorer.report();
}

absl::StatusOr<RestoreReport> History::Restore(const RestoreRequest& request) {
  if (read_only()) return PosixError(EROFS);
  StaleNames names;
  const auto report = [&]() -> absl::StatusOr<RestoreReport> {
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<PastTree> past,
                           OpenMoment(request.at));
    return RestoreFrom(*past, request, &names);
  }();
  VARVE_RETURN_IF_ERROR(report.status());
  if (!names.empty()) context_.tell_stale(names);
  return report;
}

absl::StatusOr<MomentsWithPath> History::FindMomentsWith(
    absl::string_view path) {
  if (!IsValidPath(path)) {
    return SystemError(EINVAL, absl::StrCat("'", path,
                                            "' is no path below the root of "
                                            "the tree"));
  }
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  return FindMomentsWithPath(core_, path);
}

absl::StatusOr<MomentsWithPath> History::Purge(absl::string_view path) {
  if (read_only()) return PosixError(EROFS);
  VARVE_ASSIGN_OR_RETURN(const MomentsWithPath found, FindMomentsWith(path));
  if (found.none_past()) {
    return SystemError(ENOENT,
                       absl::StrCat("no moment of the past has '", path, "'"));
  }
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_RETURN_IF_ERROR(
      CommitPurge(core_, path, found.in_window, context_.options.now()));
  return found;
}

absl::StatusOr<HistoryPolicy> History::GetPolicy() {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  return PolicyOf(core_);
}

absl::StatusOr<uint64_t> History::KeptFrom() {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  return core_.reader().KeptFrom();
}

absl::Status History::SetPolicy(const HistoryPolicy& policy) {
  absl::MutexLock commit_lock(&core_.commit_mu);
  const std::string text = policy.Text();
  Commit commit(core_, context_.options.now());
  commit.Add(fs::SetPolicy{text});
  return commit.Finish();
}

absl::Status History::ApplyPolicy() {
  if (read_only()) return PosixError(EROFS);
  absl::MutexLock lock(&automatic_mu_);
  return CommitMoment([this]() -> absl::StatusOr<bool> {
    automatic_mu_.AssertHeld();
    core_.commit_mu.AssertHeld();
    return UpdateAutomaticSnapshots(core_, context_.options.now(),
                                    newest_automatic_);
  });
}

absl::StatusOr<HistoryPlan> History::PlanKept() {
  if (context_.opened.past_is_lost) {
    absl::MutexLock lock(&core_.commit_mu);
    return HistoryPlan{.kept_from = core_.last_sequence,
                       .begin = core_.store->tail()};
  }
  VARVE_ASSIGN_OR_RETURN(const HistoryBounds bounds,
                         BoundHistory(core_, /*forget=*/false));
  return PlanHistory(core_, context_.options.now(), bounds);
}

absl::StatusOr<uint64_t> History::ForEachPastExtent(
    absl::FunctionRef<void(const Extent&)> visit) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const HistoryPlan plan, PlanKept());
  VARVE_RETURN_IF_ERROR(KeptTrees(core_.store.get(), &core_.identity,
                                  plan.LocationsBefore(), plan.purged)
                            .ForEachExtent([&](const Extent& extent) {
                              visit(extent);
                              return true;
                            }));
  return plan.begin;
}

absl::StatusOr<HistorySums> History::GetSums() {
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, core_.store->Info());
  HistorySums sums;
  absl::ReaderMutexLock lock(&core_.tree_mu);
  // Without looking for what clones share: a status must not take long.
  VARVE_ASSIGN_OR_RETURN(
      sums.bytes,
      CountHistoryBytes(core_, core_.totals().data_bytes, info.allocated));
  VARVE_ASSIGN_OR_RETURN(sums.kept_from, core_.reader().KeptFrom());
  VARVE_RETURN_IF_ERROR(core_.reader().ForEachSnapshot([&](const auto&) {
    ++sums.snapshots;
    return true;
  }));
  return sums;
}

absl::StatusOr<HistoryUsage> History::GetUsage() {
  VARVE_ASSIGN_OR_RETURN(const StoreStatistics statistics,
                         context_.statistics());
  HistoryUsage usage = {.allocated = statistics.allocated_bytes,
                        .live = statistics.live_bytes};
  VARVE_ASSIGN_OR_RETURN(const std::vector<Snapshot> snapshots, Snapshots());
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const HistoryPlan plan, PlanKept());
  usage.kept_from = plan.kept_from;
  usage.window =
      core_.store->tail() - std::min(plan.begin, core_.store->tail());
  VARVE_ASSIGN_OR_RETURN(const auto moments, FindMomentUsage(core_, plan));
  absl::flat_hash_map<uint64_t, uint64_t> own;
  for (const MomentUsage& moment : moments) {
    own[moment.moment] = moment.own_bytes;
  }
  // With two names, each keeps it without the other.
  absl::flat_hash_map<uint64_t, int> names;
  for (const Snapshot& snapshot : snapshots) ++names[snapshot.sequence];
  for (const Snapshot& snapshot : snapshots) {
    const auto found = own.find(snapshot.sequence);
    const bool is_own = found != own.end() && names[snapshot.sequence] == 1;
    usage.snapshots.emplace_back(snapshot, is_own ? found->second : 0);
  }
  return usage;
}

absl::Status History::ReadLog(
    uint64_t from,
    absl::FunctionRef<absl::StatusOr<bool>(const LoggedCommit&)> visit) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(CommitLog log, CommitLog::Of(core_, from));
  return log.ForEach(visit);
}

absl::Status History::Diff(
    absl::string_view before, absl::string_view after, absl::string_view below,
    absl::FunctionRef<absl::StatusOr<bool>(const PathDifference&)> visit) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto older, OpenMoment(before));
  VARVE_ASSIGN_OR_RETURN(const auto newer, OpenMoment(after));
  return DiffPaths(older->reader(), newer->reader(),
                   {.sharing = NodeSharing::kOneStore, .below = below}, visit);
}

}  // namespace varve::fs
