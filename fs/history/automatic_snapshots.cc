#include "fs/history/automatic_snapshots.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/format/commit_record.h"
#include "fs/history/history_plan.h"
#include "fs/history/moment_names.h"
#include "fs/history/policy.h"
#include "fs/history/retention.h"
#include "fs/log/commit.h"
#include "fs/log/moments.h"

namespace varve::fs {
namespace {

// What the tree says of automatic snapshots.
struct Present {
  HistoryPolicy policy;
  NewestAutomatic newest;
  std::vector<std::string> unwanted;  // that no rule keeps
};

absl::StatusOr<Present> ReadPresent(const Core& core, Timestamp now)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu) {
  Present present;
  VARVE_ASSIGN_OR_RETURN(present.policy, PolicyOf(core));
  std::vector<std::string> names;
  std::vector<RetentionCase> cases;
  VARVE_RETURN_IF_ERROR(
      core.reader().ForEachSnapshot([&](const SnapshotItem& snapshot) {
        if (!snapshot.is_automatic()) return true;
        names.emplace_back(snapshot.name);
        cases.push_back({.time = ToTime(snapshot.time),
                         .automatic = true,
                         .held = snapshot.is_held()});
        if (snapshot.sequence > present.newest.sequence) {
          present.newest = {.sequence = snapshot.sequence,
                            .time = snapshot.time};
        }
        return true;
      }));
  const auto reasons = PlanRetention(present.policy, cases, ToTime(now));
  for (size_t i = 0; i < reasons.size(); ++i) {
    if (reasons[i].empty()) present.unwanted.push_back(std::move(names[i]));
  }
  return present;
}

bool ConcernsMomentsAlone(const Change& change) {
  return std::holds_alternative<PutSnapshot>(change) ||
         std::holds_alternative<DropSnapshot>(change) ||
         std::holds_alternative<ForgetBefore>(change) ||
         std::holds_alternative<SetPolicy>(change) ||
         std::holds_alternative<NoteAuthor>(change) ||
         std::holds_alternative<PurgePath>(change);
}

absl::StatusOr<bool> ChangesTree(const EntryView& record) {
  VARVE_ASSIGN_OR_RETURN(
      CommitReader reader,
      CommitReader::Open(record.payload_text(),
                         record.location().payload_offset, record.key_hash(),
                         record.checksum()));
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const std::optional<Change> change, reader.Next());
    if (!change.has_value()) return false;
    if (!ConcernsMomentsAlone(*change)) return true;
  }
}

// Whether a commit behind this one has changed the tree.
absl::StatusOr<bool> HasChangedSince(Core& core, uint64_t sequence)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  bool changed = false;
  VARVE_RETURN_IF_ERROR(
      WalkCommits(*core.store, core.identity, 0, core.store->tail(),
                  [&](const CommitHeader& header,
                      const EntryView& record) -> absl::StatusOr<bool> {
                    if (header.sequence <= sequence) return false;
                    VARVE_ASSIGN_OR_RETURN(changed, ChangesTree(record));
                    return !changed;
                  }));
  return changed;
}

// The name of a snapshot of now; nothing if the tree has not changed since that
// commit, or there is a snapshot of that name.
absl::StatusOr<std::optional<std::string>> NameIfChanged(Core& core,
                                                         uint64_t sequence,
                                                         Timestamp now)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
        ABSL_LOCKS_EXCLUDED(core.tree_mu) {
  VARVE_ASSIGN_OR_RETURN(const bool changed, HasChangedSince(core, sequence));
  if (!changed) return std::optional<std::string>();
  std::string name = NameOfAutomatic(now);
  absl::ReaderMutexLock lock(&core.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const auto taken, core.reader().FindSnapshot(name));
  return taken.has_value() ? std::nullopt : std::optional(std::move(name));
}

// Whether a period has begun since the newest automatic snapshot.
bool IsDue(const Present& present, Timestamp now) {
  const std::optional<Period> period = present.policy.ShortestPeriod();
  if (!period.has_value()) return false;
  if (present.newest.sequence == 0) return true;
  const absl::TimeZone zone = present.policy.TimeZone();
  // Where the clock was set back, nothing is due before it has caught up.
  return BeginOf(*period, ToTime(now), zone) >
         BeginOf(*period, ToTime(present.newest.time), zone);
}

}  // namespace

absl::StatusOr<bool> UpdateAutomaticSnapshots(Core& core, Timestamp now,
                                              NewestAutomatic& newest) {
  Present present;
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    VARVE_ASSIGN_OR_RETURN(present, ReadPresent(core, now));
  }
  if (present.newest.sequence < newest.sequence) present.newest = newest;
  newest = present.newest;
  std::optional<std::string> name;
  if (IsDue(present, now)) {
    VARVE_ASSIGN_OR_RETURN(name, NameIfChanged(core, newest.sequence, now));
  }
  if (!name.has_value() && present.unwanted.empty()) return false;
  Commit commit(core, now);
  // Removing makes room.
  if (!name.has_value()) commit.UseReserve();
  for (const std::string& unwanted : present.unwanted) {
    commit.Add(DropSnapshot{unwanted});
  }
  const NewestAutomatic made = {
      .sequence = commit.sequence(),
      .time = std::max(core.latest_time, commit.time())};
  if (name.has_value()) {
    commit.Add(PutSnapshot{.sequence = made.sequence,
                           .time = made.time,
                           .flags = PutSnapshot::kAutomatic,
                           .name = *name});
  }
  VARVE_RETURN_IF_ERROR(commit.Finish());
  if (name.has_value()) newest = made;
  return name.has_value();
}

}  // namespace varve::fs
