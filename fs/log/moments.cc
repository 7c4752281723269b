#include "fs/log/moments.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "fs/base/error.h"
#include "fs/log/root_reader.h"

namespace varve::fs {

absl::StatusOr<Checkpoint> ReadCheckpoint(const Store& store,
                                          const Identity& identity,
                                          uint64_t metadata_offset) {
  const absl::StatusOr<EntryView> entry =
      store.EntryEndingAt(metadata_offset + kMetadataSize);
  const std::optional<CommitHeader> header =
      entry.ok() ? identity.AsCommit(*entry) : std::nullopt;
  if (!header.has_value() || !header->is_checkpoint()) {
    return DamageError(
        absl::StrCat("there is no checkpoint at offset ", metadata_offset));
  }
  VARVE_RETURN_IF_ERROR(store.Verify(entry->location()));
  VARVE_ASSIGN_OR_RETURN(TreeRoot root, ReadRoot(*entry));
  // One that another program has moved gives an offset of the former store; of
  // what was before it, nothing is kept. And no store leads in a circle.
  if (root.previous >= metadata_offset) root.previous = 0;
  return Checkpoint{.location = entry->location(),
                    .header = *header,
                    .root = std::move(root)};
}

absl::Status WalkCommits(
    const Store& store, const Identity& identity, uint64_t begin, uint64_t end,
    absl::FunctionRef<absl::StatusOr<bool>(const CommitHeader& header,
                                           const EntryView& record)>
        visit) {
  for (uint64_t at = end; at > begin;) {
    VARVE_ASSIGN_OR_RETURN(const EntryView entry, store.EntryEndingAt(at));
    at = entry.location().prev_tail;
    const std::optional<CommitHeader> header = identity.AsCommit(entry);
    // A record that is not in its place is content that looks like one.
    if (!header.has_value() || !header->is_commit() ||
        header->position != entry.location().payload_offset) {
      continue;
    }
    VARVE_ASSIGN_OR_RETURN(const bool goes_on, visit(*header, entry));
    if (!goes_on) break;
  }
  return absl::OkStatus();
}

MomentLocation MomentFinder::Base::place() const {
  if (!checkpoint.has_value()) return {};
  return {.sequence = checkpoint->header.sequence,
          .checkpoint = checkpoint->location.metadata_offset(),
          .end = checkpoint->root.log_begin};
}

absl::StatusOr<MomentFinder::Base> MomentFinder::FindBase(
    absl::FunctionRef<bool(const Checkpoint&)> fits) const {
  Base base = {.end = tail_};
  for (uint64_t at = checkpoint_; at != 0;) {
    VARVE_ASSIGN_OR_RETURN(Checkpoint checkpoint,
                           ReadCheckpoint(*store_, *identity_, at));
    if (fits(checkpoint)) {
      base.checkpoint = std::move(checkpoint);
      break;
    }
    base.end = checkpoint.root.log_begin;
    at = checkpoint.root.previous;
  }
  return base;
}

absl::StatusOr<MomentLocation> MomentFinder::Find(uint64_t sequence) const {
  VARVE_ASSIGN_OR_RETURN(const Base base,
                         FindBase([sequence](const Checkpoint& checkpoint) {
                           return checkpoint.header.sequence <= sequence;
                         }));
  MomentLocation place = base.place();
  if (base.checkpoint.has_value() && place.sequence == sequence) return place;
  place = {.sequence = sequence, .checkpoint = place.checkpoint};
  VARVE_RETURN_IF_ERROR(
      WalkCommits(*store_, *identity_, base.begin(), base.end,
                  [&](const CommitHeader& header,
                      const EntryView& record) -> absl::StatusOr<bool> {
                    if (header.sequence == sequence)
                      place.end = record.location().end();
                    return header.sequence > sequence;
                  }));
  if (place.end == 0) {
    return absl::NotFoundError(absl::StrCat("there is no commit ", sequence));
  }
  return place;
}

absl::StatusOr<std::optional<MomentLocation>> MomentFinder::FindAt(
    Timestamp time, uint64_t from) const {
  VARVE_ASSIGN_OR_RETURN(const Base base,
                         FindBase([time, from](const Checkpoint& checkpoint) {
                           return checkpoint.root.time <= time ||
                                  checkpoint.header.sequence < from;
                         }));
  struct Seen {
    uint64_t sequence;
    Timestamp time;
    uint64_t end;
  };
  std::vector<Seen> later;
  VARVE_RETURN_IF_ERROR(
      WalkCommits(*store_, *identity_, base.begin(), base.end,
                  [&](const CommitHeader& header,
                      const EntryView& record) -> absl::StatusOr<bool> {
                    if (header.sequence < from) return false;
                    later.push_back({header.sequence, header.time,
                                     record.location().end()});
                    return true;
                  }));
  MomentLocation found = base.place();
  Timestamp latest;
  if (base.checkpoint.has_value()) latest = base.checkpoint->root.time;
  // Before `from`, the checkpoint may be later than `time`.
  bool is_early_enough = latest <= time;
  for (auto it = later.rbegin(); it != later.rend(); ++it) {
    latest = std::max(latest, it->time);
    if (latest > time) break;
    is_early_enough = true;
    found.sequence = it->sequence;
    found.end = it->end;
  }
  if (found.end == 0 || found.sequence < from || !is_early_enough) {
    return std::optional<MomentLocation>();
  }
  return std::optional(found);
}

MomentFinder FinderOf(Core& core) {
  absl::MutexLock lock(&core.commit_mu);
  return {core.store.get(), &core.identity, core.checkpoint,
          core.store->tail()};
}

absl::Status FindSnapshotLocations(Core& core) {
  absl::flat_hash_set<uint64_t> sequences;
  VARVE_RETURN_IF_ERROR(
      core.reader().ForEachSnapshot([&](const SnapshotItem& snapshot) {
        sequences.insert(snapshot.sequence);
        return true;
      }));
  std::erase_if(core.snapshots, [&](const MomentLocation& place) {
    return !sequences.contains(place.sequence);
  });
  for (const MomentLocation& place : core.snapshots) {
    sequences.erase(place.sequence);
  }
  const MomentFinder finder(core.store.get(), &core.identity, core.checkpoint,
                            core.store->tail());
  for (const uint64_t sequence : sequences) {
    const absl::StatusOr<MomentLocation> place = finder.Find(sequence);
    // Of a store that was repaired, or is damaged, the newest tree can be used
    // all the same.
    if (absl::IsNotFound(place.status()) || absl::IsDataLoss(place.status())) {
      continue;
    }
    VARVE_RETURN_IF_ERROR(place.status());
    core.snapshots.push_back(*place);
  }
  std::sort(core.snapshots.begin(), core.snapshots.end(), IsBefore);
  return absl::OkStatus();
}

}  // namespace varve::fs
