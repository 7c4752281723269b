#include "fs/log/moments.h"

#include <algorithm>
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
  return Checkpoint{
      .location = entry->location(), .header = *header, .root = root};
}

absl::Status MomentFinder::Walk(uint64_t begin, uint64_t end,
                                Visitor visit) const {
  for (uint64_t at = end; at > begin;) {
    VARVE_ASSIGN_OR_RETURN(const EntryView entry, store_->EntryEndingAt(at));
    at = entry.location().prev_tail;
    const std::optional<CommitHeader> header = identity_->AsCommit(entry);
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

absl::StatusOr<MomentPlace> MomentFinder::Find(uint64_t sequence) const {
  MomentPlace place = {.sequence = sequence, .checkpoint = checkpoint_};
  // All commits that `place.checkpoint` may lack end here or before.
  uint64_t end = tail_;
  uint64_t begin = 0;
  while (place.checkpoint != 0) {
    VARVE_ASSIGN_OR_RETURN(
        const Checkpoint checkpoint,
        ReadCheckpoint(*store_, *identity_, place.checkpoint));
    begin = checkpoint.root.log_begin;
    if (checkpoint.header.sequence == sequence) {
      place.end = begin;
      return place;
    }
    if (checkpoint.header.sequence < sequence) break;
    end = begin;
    begin = 0;
    if (checkpoint.root.previous >= place.checkpoint) {
      return DamageError("a checkpoint does not lead back");
    }
    place.checkpoint = checkpoint.root.previous;
  }
  VARVE_RETURN_IF_ERROR(
      Walk(begin, end,
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

absl::StatusOr<std::optional<MomentFinder::Found>> MomentFinder::FindAt(
    Timestamp time, uint64_t from) const {
  Found found = {.place = {.checkpoint = checkpoint_}};
  uint64_t end = tail_;
  uint64_t begin = 0;
  while (found.place.checkpoint != 0) {
    VARVE_ASSIGN_OR_RETURN(
        const Checkpoint checkpoint,
        ReadCheckpoint(*store_, *identity_, found.place.checkpoint));
    begin = checkpoint.root.log_begin;
    if (checkpoint.root.time <= time || checkpoint.header.sequence < from) {
      found.place.sequence = checkpoint.header.sequence;
      found.place.end = begin;
      found.time = checkpoint.root.time;
      break;
    }
    end = begin;
    begin = 0;
    if (checkpoint.root.previous >= found.place.checkpoint) {
      return DamageError("a checkpoint does not lead back");
    }
    found.place.checkpoint = checkpoint.root.previous;
  }
  struct Seen {
    uint64_t sequence;
    Timestamp time;
    uint64_t end;
  };
  std::vector<Seen> later;
  VARVE_RETURN_IF_ERROR(
      Walk(begin, end,
           [&](const CommitHeader& header,
               const EntryView& record) -> absl::StatusOr<bool> {
             if (header.sequence < from) return false;
             later.push_back(
                 {header.sequence, header.time, record.location().end()});
             return true;
           }));
  Timestamp latest = found.time;
  for (auto it = later.rbegin(); it != later.rend(); ++it) {
    latest = std::max(latest, it->time);
    if (latest > time) break;
    found.place.sequence = it->sequence;
    found.place.end = it->end;
    found.time = latest;
  }
  if (found.place.end == 0 || found.place.sequence < from ||
      found.time > time) {
    return std::optional<Found>();
  }
  return std::optional<Found>(found);
}

MomentFinder FinderOf(Core& core) {
  absl::MutexLock lock(&core.commit_mu);
  return {core.store.get(), &core.identity, core.checkpoint,
          core.store->tail()};
}

absl::Status FindSnapshotPlaces(Core& core) {
  absl::flat_hash_set<uint64_t> sequences;
  VARVE_RETURN_IF_ERROR(
      core.reader().ForEachSnapshot([&](const SnapshotItem& snapshot) {
        sequences.insert(snapshot.sequence);
        return true;
      }));
  std::erase_if(core.snapshots, [&](const MomentPlace& place) {
    return !sequences.contains(place.sequence);
  });
  for (const MomentPlace& place : core.snapshots) {
    sequences.erase(place.sequence);
  }
  const MomentFinder finder(core.store.get(), &core.identity, core.checkpoint,
                            core.store->tail());
  for (const uint64_t sequence : sequences) {
    const absl::StatusOr<MomentPlace> place = finder.Find(sequence);
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
