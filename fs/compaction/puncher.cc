#include "fs/compaction/puncher.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "fs/base/idle_priority.h"
#include "fs/compaction/live_bytes.h"
#include "fs/log/commit.h"
#include "fs/log/root_reader.h"

namespace varve::fs {
namespace {

// The usual block size of file systems. On one with larger blocks, punching
// gains less, but does no harm.
constexpr uint64_t kBlock = 4096;
// When so little of the log has not been looked at, the rest is, with everybody
// held up.
constexpr uint64_t kShortLog = uint64_t{64} << 10;
constexpr int kMaxRounds = 20;

}  // namespace

absl::Status Puncher::NoteCommitted(uint64_t begin, uint64_t end) {
  return ForEachCommittedExtent(
      context_.core, begin, end,
      [this](const Extent& extent) { NoteUsed(extent); });
}

void Puncher::FindNeededRecords() {
  Core& core = context_.core;
  uint64_t checkpoint;
  {
    absl::MutexLock lock(&core.commit_mu);
    checkpoint = core.checkpoint_before;
  }
  const auto entry = core.store->EntryEndingAt(checkpoint + kMetadataSize);
  if (checkpoint == 0 || !entry.ok()) return;
  const auto root = ReadRoot(*entry);
  if (!root.ok()) return;
  // Commits that came while it was written lie before it.
  needed_from_ = std::min(root->log_begin, entry->location().payload_offset);
}

absl::Status Puncher::FindHistory() {
  Core& core = context_.core;
  VARVE_ASSIGN_OR_RETURN(const HistoryBounds bounds,
                         BoundHistory(core, context_.forget));
  VARVE_ASSIGN_OR_RETURN(history_, PlanHistory(core, context_.now(), bounds));
  kept_.emplace(core.store.get(), &core.identity, history_.LocationsBefore(),
                history_.purged);
  VARVE_ASSIGN_OR_RETURN(KeptTrees::Needed needed, kept_->FindNeeded());
  needed_.emplace(std::move(needed));
  segments_.insert(needed_->segments.begin(), needed_->segments.end());
  return absl::OkStatus();
}

absl::Status Puncher::Forget() {
  context_.core.commit_mu.AssertHeld();
  const absl::Status forgotten =
      CommitPlan(context_.core, history_, context_.now());
  // On a full disk it has to be possible to make room.
  return IsOutOfSpace(forgotten) ? absl::OkStatus() : forgotten;
}

absl::Status Puncher::FindUsedLocked(uint64_t committed) {
  Core& core = context_.core;
  VARVE_RETURN_IF_ERROR(core.store->Seal());
  for (const auto& open : context_.open_files.All()) {
    absl::ReaderMutexLock lock(&open->mu);
    for (const Extent& place : open->content.Extents()) {
      if (place.entry_size > 0) NoteUsed(place);
    }
    if (open->stream == nullptr) continue;
    for (const EntryLocation& entry : open->stream->sealed()) NoteUsed(entry);
  }
  absl::MutexLock commit_lock(&core.commit_mu);
  // While nobody is restoring anything from the moments that are forgotten.
  VARVE_RETURN_IF_ERROR(Forget());
  tail_ = core.store->tail();
  VARVE_RETURN_IF_ERROR(NoteCommitted(committed, tail_));
  absl::ReaderMutexLock tree_lock(&core.tree_mu);
  for (const Segment& segment : core.log_tree->segments.All()) {
    segments_.insert(segment.number);
  }
  for (const uint32_t segment : core.root_pins.All()) {
    segments_.insert(segment);
  }
  core.orphans.ForEachExtent(
      [this](const Extent& extent) { NoteUsed(extent); });
  return absl::OkStatus();
}

absl::Status Puncher::FindUsed() {
  Core& core = context_.core;
  VARVE_ASSIGN_OR_RETURN(const UnnamedEntries::Found unnamed,
                         context_.unnamed.Find());
  for (const EntryLocation& entry : unnamed.entries) NoteUsed(entry);
  // The store looks keys up in it, though a newer one may have been written.
  if (const auto image = core.store->index_image_in_use()) NoteUsed(*image);
  uint64_t committed;
  {
    absl::MutexLock lock(&core.commit_mu);
    committed = core.store->tail();
  }
  VARVE_ASSIGN_OR_RETURN(tree_, FrozenTree::Take(core));
  const CopyGate::Closing closing(context_.copy_gate);
  VARVE_RETURN_IF_ERROR(context_.monitor.WaitUntil(
      [this] { return !context_.copy_gate.has_copies(); }));
  // Segments of a checkpoint that is being written are in use, so wait for it.
  absl::MutexLock checkpoint_lock(&core.checkpoint_mu);
  FindNeededRecords();
  VARVE_RETURN_IF_ERROR(FindHistory());
  for (int round = 0; round < kMaxRounds; ++round) {
    const uint64_t end = core.store->tail();
    if (end - committed < kShortLog) break;
    VARVE_RETURN_IF_ERROR(NoteCommitted(committed, end));
    VARVE_RETURN_IF_ERROR(context_.monitor.Check());
    committed = end;
  }
  const absl::Time begin = absl::Now();
  absl::Status status;
  {
    absl::MutexLock relocation_lock(&core.relocation_mu);
    status = FindUsedLocked(committed);
  }
  context_.monitor.NoteStall(absl::Now() - begin);
  return status;
}

Puncher::Liveness Puncher::DeathOf(const EntryView& entry,
                                   const std::optional<CommitHeader>& record,
                                   const UsedRanges& used) const {
  const EntryLocation& location = entry.location();
  if (location.is_tombstone) return Liveness::kNone;
  const Core& core = context_.core;
  const bool is_sums = core.identity.IsBlockSums(entry);
  if (is_sums) {
    // They are in use with the entry before them, whose key may have a newer
    // one. If another entry is there, nobody knows whose they are.
    const auto summed = core.store->EntryEndingAt(location.prev_tail);
    if (!summed.ok() ||
        !BlockSums::Open(entry.payload_text(), summed->location()) ||
        summed->location().metadata_offset() < used.begin() ||
        used.Contains(summed->location())) {
      return Liveness::kNone;
    }
  }
  if (record.has_value()) {
    // Records from the checkpoint before the last on are needed to load the
    // tree if the last checkpoint is damaged.
    const bool needed = record->is_segment()
                            ? segments_.contains(record->sequence)
                            : location.payload_offset >= needed_from_ ||
                                  needed_->records.Contains(location);
    if (needed) return Liveness::kNone;
  }
  if (core.store->Find(EntryKey::OfHash(location.key_hash)) ==
      location.metadata_offset()) {
    // What cannot be told to be ours is not.
    const bool ours =
        record.has_value() || is_sums ||
        core.identity.IsDataKey(location.key_hash, core.next_data_id.load());
    return ours ? Liveness::kNewest : Liveness::kNone;
  }
  return location.end() <= vouched_ ? Liveness::kKnown : Liveness::kUnvouched;
}

absl::Status Puncher::PunchBetween(const UsedRanges& used, uint64_t end) {
  const Core& core = context_.core;
  absl::Status status;
  VARVE_RETURN_IF_ERROR(core.store->ForEachInChain([&](const EntryView& entry) {
    const EntryLocation& location = entry.location();
    if (location.end() > tail_) return true;
    const auto header = core.identity.AsCommit(entry);
    // The newest commit, as entries come newest first.
    if (vouched_ == 0 && header.has_value()) vouched_ = header->durable_tail;
    if (location.end() > history_.begin || location.metadata_offset() >= end) {
      return true;
    }
    if (location.metadata_offset() < used.begin()) return false;
    status.Update(context_.monitor.Check());
    const Range range = {
        .begin = (location.payload_offset + kBlock - 1) / kBlock * kBlock,
        .end = location.metadata_offset() / kBlock * kBlock};
    if (range.begin >= range.end || used.Contains(location)) return status.ok();
    const Liveness liveness = DeathOf(entry, header, used);
    if (liveness == Liveness::kNone) return status.ok();
    (liveness == Liveness::kKnown ? at_once_ : tombstoned_).push_back(range);
    if (liveness == Liveness::kNewest) {
      keys_.push_back(
          core.identity.KeysToHide(location.key_hash, location.payload_size));
    }
    total_ += range.end - range.begin;
    if (at_once_.size() + tombstoned_.size() >= context_.most_dead) {
      status.Update(PunchGathered());
    }
    return status.ok();
  }));
  return status;
}

absl::Status Puncher::PunchGathered() {
  if (at_once_.empty() && tombstoned_.empty()) return absl::OkStatus();
  context_.monitor.SetTotals(total_, 0);
  // What was not found by its key was taken for dead.
  VARVE_RETURN_IF_ERROR(context_.core.store->CheckIndex());
  const absl::Status status = PunchDead();
  at_once_.clear();
  tombstoned_.clear();
  keys_.clear();
  return status;
}

absl::Status Puncher::TombstoneDead() {
  Core& core = context_.core;
  {
    absl::MutexLock lock(&core.commit_mu);
    Commit commit(core, context_.now());
    commit.UseReserve();
    for (const EntryKeys& keys : keys_) commit.AddTombstone(keys);
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
  Core& core = context_.core;
  // Nothing is to be forgotten in vain.
  VARVE_RETURN_IF_ERROR(core.store->CheckIndex());
  VARVE_RETURN_IF_ERROR(FindUsed());
  const ExtentSource* const trees[] = {tree_.get(), &*kept_};
  absl::Status status = UsedRanges::ForEachPass(
      tail_, context_.most_ranges, trees,
      [this] { return context_.monitor.Check(); },
      [this](UsedRanges& used) {
        for (const Range& range : used_) used.Add(range.begin, range.end);
      },
      [&](const UsedRanges& used, uint64_t end) {
        // Where the file was cut short, the map shows zeros.
        VARVE_RETURN_IF_ERROR(core.store->CheckLength(tail_));
        return PunchBetween(used, end);
      });
  if (status.ok()) status = PunchGathered();
  if (readers_are_out_) core.store->LetReadersIn();
  return status;
}

absl::Status Puncher::PunchDead() {
  Store& store = *context_.core.store;
  if (!readers_are_out_) {
    // Another program that reads the store uses the tree as it was when the
    // program opened the store.
    VARVE_ASSIGN_OR_RETURN(readers_are_out_, store.TryLockOutReaders());
    if (!readers_are_out_) {
      return SystemError(
          EBUSY,
          "the store is open for reading (by another command or a read-only "
          "mount), which may still need what is dead here; try again later, or "
          "compact without --punch");
    }
    // Answers under way may use bytes of entries that have just died.
    context_.answers.Synchronize();
  }
  if (!at_once_.empty()) {
    // The death of these entries must be durable. Append nothing for that:
    // there may be no room.
    VARVE_RETURN_IF_ERROR(context_.sync());
    VARVE_RETURN_IF_ERROR(PunchAll(at_once_));
  }
  if (tombstoned_.empty()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(TombstoneDead());
  vouched_ = tail_;
  return PunchAll(tombstoned_);
}

}  // namespace varve::fs
