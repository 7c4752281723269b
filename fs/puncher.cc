#include "fs/puncher.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "engine/status.h"
#include "fs/commit.h"

namespace varve::fs {
namespace {

// What host file systems give back. Larger blocks make punching less thorough,
// never wrong.
constexpr uint64_t kBlock = 4096;

}  // namespace

absl::Status Puncher::FindUsed() {
  Core& core = context_.core;
  for (const EntryLocation& entry : context_.unnamed()) {
    used_.insert(entry.payload_offset);
  }
  absl::MutexLock arrangement_lock(&core.arrangement_mu);
  const absl::Time begin = absl::Now();
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
  checkpoint_ = core.checkpoint;
  absl::ReaderMutexLock tree_lock(&core.tree_mu);
  const auto use = [this](const Inode& inode) {
    if (inode.whole_entry != Inode::kNone) used_.insert(inode.whole_entry);
    if (inode.detail == nullptr) return;
    for (const auto& [offset, extent] : inode.detail->extents.extents()) {
      used_.insert(extent.payload_offset());
    }
  };
  core.tree.ForEach(use);
  for (const auto& [ino, inode] : core.orphans) use(*inode);
  context_.monitor.NoteStall(absl::Now() - begin);
  return absl::OkStatus();
}

bool Puncher::IsDead(const EntryView& entry) {
  const EntryLocation& location = entry.location();
  if (location.is_tombstone || used_.contains(location.payload_offset)) {
    return false;
  }
  const Core& core = context_.core;
  const bool newest =
      core.store->FindHashed(location.key_hash) == location.metadata_offset();
  // Everything from the checkpoint on is needed to load the tree.
  const bool record = core.identity.AsCommit(entry).has_value();
  if (record && location.metadata_offset() >= checkpoint_) return false;
  if (!newest) return true;
  if (!record && !data_keys_.contains(location.key_hash)) return false;
  keys_.push_back(location.key_hash);
  return true;
}

absl::Status Puncher::FindDead() {
  const Core& core = context_.core;
  for (uint64_t id = 1; id < core.next_data_id.load(); ++id) {
    data_keys_.insert(core.identity.DataKeyHash(id));
  }
  uint64_t total = 0;
  VARVE_RETURN_IF_ERROR(core.store->ForEachInChain([&](const EntryView& entry) {
    const EntryLocation& location = entry.location();
    if (location.end() > tail_) return true;
    const uint64_t begin =
        (location.payload_offset + kBlock - 1) / kBlock * kBlock;
    const uint64_t end = location.metadata_offset() / kBlock * kBlock;
    if (begin < end && IsDead(entry)) {
      ranges_.push_back({begin, end});
      total += end - begin;
    }
    return context_.monitor.Check().ok();
  }));
  context_.monitor.SetTotals(total, 0);
  return context_.monitor.Check();
}

absl::Status Puncher::BuryDead() {
  Core& core = context_.core;
  {
    absl::MutexLock lock(&core.commit_mu);
    Commit commit(core, context_.now());
    for (const uint64_t key : keys_) commit.AddTombstone(key);
    VARVE_RETURN_IF_ERROR(commit.Finish());
  }
  // Only when it is durable that they are dead, and a commit says how much is
  // durable: recovery reads again what nobody vouches for.
  VARVE_RETURN_IF_ERROR(context_.sync());
  {
    absl::MutexLock lock(&core.commit_mu);
    VARVE_RETURN_IF_ERROR(Commit(core, context_.now()).Finish());
  }
  return context_.sync();
}

absl::Status Puncher::Run() {
  Core& core = context_.core;
  VARVE_RETURN_IF_ERROR(FindUsed());
  VARVE_RETURN_IF_ERROR(FindDead());
  if (ranges_.empty()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(BuryDead());
  // Answers that are on their way may come from what has just died.
  core.answers.Synchronize();
  for (const Range& range : ranges_) {
    VARVE_RETURN_IF_ERROR(
        Annotate(core.store->Punch(range.begin, range.end - range.begin),
                 "the host file system cannot punch holes"));
    VARVE_RETURN_IF_ERROR(context_.monitor.Count(range.end - range.begin));
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
