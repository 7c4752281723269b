#include "fs/history/purge.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/format/path.h"
#include "fs/history/commit_log.h"
#include "fs/history/history_plan.h"
#include "fs/history/moment_names.h"
#include "fs/log/commit.h"
#include "fs/log/past_tree.h"

namespace varve::fs {
namespace {

using Kind = LoggedOperation::Kind;

// What the present says of a path and of moments.
struct Present {
  bool has_path = false;
  uint64_t kept_from = 0;
  std::vector<PurgedPath> purged;
  struct Named {
    uint64_t sequence;
    std::string name;
  };
  std::vector<Named> snapshots;  // oldest first

  // The number of the first moment of the window that has not lost the path.
  uint64_t FirstWith(absl::string_view path) const {
    uint64_t first = kept_from;
    for (const PurgedPath& before : purged) {
      if (LiesWithin(path, before.path)) first = std::max(first, before.before);
    }
    return first;
  }
};

absl::StatusOr<bool> Has(const TreeReader& tree, absl::string_view path) {
  VARVE_ASSIGN_OR_RETURN(const auto inode, tree.Resolve(path));
  return inode.has_value();
}

absl::StatusOr<Present> ReadPresent(Core& core, absl::string_view path)
    ABSL_LOCKS_EXCLUDED(core.tree_mu) {
  absl::ReaderMutexLock lock(&core.tree_mu);
  const TreeReader& tree = core.reader();
  Present present;
  VARVE_ASSIGN_OR_RETURN(present.has_path, Has(tree, path));
  VARVE_ASSIGN_OR_RETURN(present.kept_from, tree.KeptFrom());
  VARVE_ASSIGN_OR_RETURN(present.purged, tree.PurgedPaths());
  VARVE_RETURN_IF_ERROR(tree.ForEachSnapshot([&](const SnapshotItem& snapshot) {
    present.snapshots.push_back(
        {snapshot.sequence, std::string(snapshot.name)});
    return true;
  }));
  std::sort(present.snapshots.begin(), present.snapshots.end(),
            [](const auto& a, const auto& b) {
              return std::pair(a.sequence, a.name) <
                     std::pair(b.sequence, b.name);
            });
  return present;
}

// Whether the operation shows that a moment has had the path.
bool Concerns(const LoggedOperation& operation, absl::string_view path) {
  if (operation.ino == 0) return false;
  return LiesWithin(operation.path, path) ||
         (operation.kind == Kind::kRename &&
          (LiesWithin(operation.old_path, path) ||
           LiesWithin(path, operation.path) ||
           LiesWithin(path, operation.old_path)));
}

// Whether the window's log tells of the path since that commit.
absl::StatusOr<bool> IsInLog(Core& core, absl::string_view path,
                             uint64_t from) {
  bool found = false;
  VARVE_ASSIGN_OR_RETURN(CommitLog log, CommitLog::Of(core, from));
  VARVE_RETURN_IF_ERROR(
      log.ForEach([&](const LoggedCommit& commit) -> absl::StatusOr<bool> {
        found = std::any_of(commit.operations.begin(), commit.operations.end(),
                            [path](const LoggedOperation& operation) {
                              return Concerns(operation, path);
                            });
        return !found;
      }));
  return found;
}

// Whether the moment of this number is kept, and has the path.
absl::StatusOr<bool> IsInMoment(Core& core, const Present& present,
                                absl::string_view path, uint64_t sequence) {
  const absl::StatusOr<MomentLocation> place = FindKeptMoment(core, sequence);
  if (absl::IsNotFound(place.status())) return false;
  VARVE_RETURN_IF_ERROR(place.status());
  VARVE_ASSIGN_OR_RETURN(
      const auto tree,
      PastTree::Open(core.store.get(), core.identity, *place, present.purged));
  return Has(tree->reader(), path);
}

}  // namespace

absl::StatusOr<std::vector<PurgedPath>> ReadPurgedPaths(Core& core) {
  absl::ReaderMutexLock lock(&core.tree_mu);
  return core.reader().PurgedPaths();
}

absl::StatusOr<MomentsWithPath> FindMomentsWithPath(Core& core,
                                                    absl::string_view path) {
  VARVE_ASSIGN_OR_RETURN(const Present present, ReadPresent(core, path));
  MomentsWithPath found = {.in_present = present.has_path};
  std::optional<uint64_t> last;
  bool last_has = false;
  for (const Present::Named& snapshot : present.snapshots) {
    if (last != snapshot.sequence) {
      VARVE_ASSIGN_OR_RETURN(
          last_has, IsInMoment(core, present, path, snapshot.sequence));
      last = snapshot.sequence;
    }
    if (last_has) found.snapshots.push_back(snapshot.name);
  }
  const uint64_t from = std::max<uint64_t>(present.FirstWith(path), 1);
  VARVE_ASSIGN_OR_RETURN(found.in_window,
                         IsInMoment(core, present, path, from));
  if (!found.in_window) {
    VARVE_ASSIGN_OR_RETURN(found.in_window, IsInLog(core, path, from));
  }
  return found;
}

absl::Status CommitPurge(Core& core, absl::string_view path, bool keep_hours,
                         Timestamp now) {
  std::vector<MomentAt> hours;
  if (keep_hours) {
    HistoryPolicy policy;
    {
      absl::ReaderMutexLock lock(&core.tree_mu);
      VARVE_ASSIGN_OR_RETURN(policy, PolicyOf(core));
    }
    VARVE_ASSIGN_OR_RETURN(
        hours, FindMomentsAt(core, HistoryPoints(ToTime(now) - policy.within,
                                                 ToTime(now))));
  }
  absl::MutexLock commit_lock(&core.commit_mu);
  Commit commit(core, now);
  // It makes room.
  commit.UseReserve();
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const uint64_t kept_from, core.reader().KeptFrom());
    for (const MomentAt& hour : hours) {
      const std::string name = NameOfAutomatic(hour.time);
      VARVE_ASSIGN_OR_RETURN(const auto taken,
                             core.reader().FindSnapshot(name));
      if (taken.has_value() || hour.moment < kept_from) continue;
      commit.Add(PutSnapshot{.sequence = hour.moment,
                             .time = hour.time,
                             .flags = PutSnapshot::kAutomatic,
                             .name = name});
    }
  }
  commit.Add(PurgePath{.before = commit.sequence(), .path = path});
  return commit.Finish();
}

}  // namespace varve::fs
