#include "fs/compaction/puncher.h"

#include <errno.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "engine/base/status.h"
#include "fs/base/idle_priority.h"
#include "fs/log/commit.h"

namespace varve::fs {
namespace {

// The usual block size of file systems. On one with larger blocks, punching
// gains less, but does no harm.
constexpr uint64_t kBlock = 4096;

}  // namespace

absl::Status Puncher::FindUsed() {
  Core& core = context_.core;
  VARVE_ASSIGN_OR_RETURN(const std::vector<EntryLocation> unnamed,
                         context_.unnamed.Find());
  for (const EntryLocation& entry : unnamed) {
    used_.insert(entry.payload_offset);
  }
  // The store looks keys up in this image, even if a newer one was written.
  if (const auto image = core.store->index_image_in_use()) {
    used_.insert(image->payload_offset);
  }
  const CopyGate::Closing closing(context_.copy_gate);
  VARVE_RETURN_IF_ERROR(context_.monitor.WaitUntil(
      [this] { return !context_.copy_gate.has_copies(); }));
  // Segments of a checkpoint that is being written are in use, so wait for it.
  absl::MutexLock checkpoint_lock(&core.checkpoint_mu);
  const absl::Time begin = absl::Now();
  absl::MutexLock relocation_lock(&core.relocation_mu);
  VARVE_RETURN_IF_ERROR(core.store->Seal());
  for (const auto& open : context_.open_files.All()) {
    absl::ReaderMutexLock lock(&open->mu);
    for (const Extent& place : open->content.Places()) {
      if (place.entry_size > 0) used_.insert(place.payload_offset());
    }
    if (open->stream == nullptr) continue;
    for (const EntryLocation& entry : open->stream->sealed()) {
      used_.insert(entry.payload_offset);
    }
  }
  absl::MutexLock commit_lock(&core.commit_mu);
  tail_ = core.store->tail();
  needed_from_ = core.checkpoint_before;
  absl::ReaderMutexLock tree_lock(&core.tree_mu);
  for (const Segment& segment : core.log_tree->segments.All()) {
    segments_.insert(segment.number);
  }
  VARVE_RETURN_IF_ERROR(ForEachExtentInUse(core, [this](const Extent& extent) {
    used_.insert(extent.payload_offset());
  }));
  context_.monitor.NoteStall(absl::Now() - begin);
  return absl::OkStatus();
}

Puncher::Liveness Puncher::DeathOf(const EntryView& entry) const {
  const EntryLocation& location = entry.location();
  if (location.is_tombstone || used_.contains(location.payload_offset)) {
    return Liveness::kNone;
  }
  const Core& core = context_.core;
  const bool newest = core.store->Find(EntryKey::OfHash(location.key_hash)) ==
                      location.metadata_offset();
  const auto record = core.identity.AsCommit(entry);
  if (record.has_value()) {
    // Records from the checkpoint before the last on are needed to load the
    // tree if the last checkpoint is damaged.
    const bool needed = record->is_segment()
                            ? segments_.contains(record->sequence)
                            : location.metadata_offset() >= needed_from_;
    if (needed) return Liveness::kNone;
  }
  if (newest) {
    // What cannot be told to be ours is not.
    const bool ours =
        record.has_value() ||
        core.identity.IsDataKey(location.key_hash, core.next_data_id.load());
    return ours ? Liveness::kNewest : Liveness::kNone;
  }
  return location.end() <= vouched_ ? Liveness::kKnown : Liveness::kUnvouched;
}

absl::Status Puncher::FindDead() {
  const Core& core = context_.core;
  uint64_t total = 0;
  VARVE_RETURN_IF_ERROR(core.store->ForEachInChain([&](const EntryView& entry) {
    const EntryLocation& location = entry.location();
    if (location.end() > tail_) return true;
    if (vouched_ == 0) {
      // Entries come newest first, so this is the newest record.
      const auto header = core.identity.AsCommit(entry);
      if (header.has_value()) vouched_ = header->durable_tail;
    }
    const Range range = {
        .begin = (location.payload_offset + kBlock - 1) / kBlock * kBlock,
        .end = location.metadata_offset() / kBlock * kBlock};
    const Liveness death =
        range.begin < range.end ? DeathOf(entry) : Liveness::kNone;
    if (death == Liveness::kNone) return context_.monitor.Check().ok();
    (death == Liveness::kKnown ? at_once_ : buried_).push_back(range);
    if (death == Liveness::kNewest) keys_.push_back(location.key_hash);
    total += range.end - range.begin;
    return context_.monitor.Check().ok();
  }));
  context_.monitor.SetTotals(total, 0);
  return context_.monitor.Check();
}

absl::Status Puncher::TombstoneDead() {
  Core& core = context_.core;
  {
    absl::MutexLock lock(&core.commit_mu);
    Commit commit(core, context_.now());
    commit.UseReserve();
    for (const uint64_t key : keys_) commit.AddTombstone(key);
    VARVE_RETURN_IF_ERROR(commit.Finish());
  }
  // Sync twice: the tombstones must be durable, and then a commit that says so.
  VARVE_RETURN_IF_ERROR(context_.sync());
  {
    absl::MutexLock lock(&core.commit_mu);
    Commit commit(core, context_.now());
    commit.UseReserve();
    VARVE_RETURN_IF_ERROR(commit.Finish());
  }
  return context_.sync();
}

absl::Status Puncher::PunchAll(const std::vector<Range>& ranges) {
  const IdlePriority priority(context_.background);
  for (const Range& range : ranges) {
    const uint64_t length = range.end - range.begin;
    VARVE_RETURN_IF_ERROR(
        Annotate(context_.core.store->Punch(range.begin, length),
                 "the host file system cannot punch holes"));
    VARVE_RETURN_IF_ERROR(context_.monitor.Count(length));
  }
  return absl::OkStatus();
}

absl::Status Puncher::Run() {
  VARVE_RETURN_IF_ERROR(FindUsed());
  VARVE_RETURN_IF_ERROR(FindDead());
  // If the index is damaged, live entries may have been taken for dead.
  VARVE_RETURN_IF_ERROR(context_.core.store->CheckIndex());
  if (at_once_.empty() && buried_.empty()) return absl::OkStatus();
  Store& store = *context_.core.store;
  // Another program that reads the store uses the tree as it was when the
  // program opened the store.
  VARVE_ASSIGN_OR_RETURN(const bool alone, store.TryLockOutReaders());
  if (!alone) {
    return SystemError(EBUSY,
                       "the store is open for reading (by another command or a "
                       "read-only mount), which may still need what is dead "
                       "here; try again later, or compact without --punch");
  }
  const absl::Status status = PunchDead();
  store.LetReadersIn();
  return status;
}

absl::Status Puncher::PunchDead() {
  // Answers under way may use bytes of entries that have just died.
  context_.answers.Synchronize();
  if (!at_once_.empty()) {
    // The death of these entries must be durable. Append nothing for that:
    // there may be no room.
    VARVE_RETURN_IF_ERROR(context_.sync());
    VARVE_RETURN_IF_ERROR(PunchAll(at_once_));
  }
  if (buried_.empty()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(TombstoneDead());
  return PunchAll(buried_);
}

}  // namespace varve::fs
