#include "fs/compaction/compactor.h"

#include <errno.h>
#include <sys/stat.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status.h"
#include "engine/io/resolved_path.h"
#include "fs/base/error.h"
#include "fs/base/idle_priority.h"
#include "fs/compaction/live_bytes.h"
#include "fs/log/checkpoint.h"
#include "fs/log/commit.h"
#include "fs/log/loader.h"
#include "fs/log/store_identity.h"

namespace varve::fs {
namespace {

// The last step begins once at most this much is left to ship.
constexpr uint64_t kShortLog = uint64_t{64} << 10;
constexpr int kMaxRounds = 50;
// What a compaction leaves free on the disk, for others.
constexpr uint64_t kReserve = uint64_t{16} << 20;
// How long a compaction waits if less than this is free. It must not wait
// longer, because its new file takes space, too.
constexpr absl::Duration kLongestPause = absl::Minutes(1);

}  // namespace

absl::StatusOr<bool> IsLeftover(FileSystem& file_system,
                                const std::string& path,
                                const Identity& identity) {
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, file_system.Info(path));
  // A compaction makes a regular file, never a link.
  if (!S_ISREG(info.mode) || ResolvedPath(path) != path) return false;
  if (info.size == 0) return true;  // it had only just begun
  const auto found = FindIdentity(file_system, path);
  // A file that cannot be read is not ours to remove.
  return found.ok() && found->has_value() && (*found)->uuid == identity.uuid;
}

absl::Status Compactor::CheckReplacementPath() {
  const std::string path = context_.core.store->replacement_path();
  const absl::StatusOr<bool> leftover =
      IsLeftover(*context_.file_system, path, context_.core.identity);
  if (absl::IsNotFound(leftover.status())) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(leftover.status());
  if (*leftover) return absl::OkStatus();
  return SystemError(
      EEXIST, absl::StrCat(path,
                           " is in the way: a compaction writes a file of that "
                           "name, and this one is not its own; move it away"));
}

uint64_t Compactor::NewDataId() {
  const uint64_t id = context_.core.NewDataId();
  copy_.next_data_id.store(
      std::max(copy_.next_data_id.load(), std::min(id + 1, kMaxId)));
  return id;
}

absl::Status Compactor::LoadCopy() {
  Store& live = *context_.core.store;
  // Seal streams, so that the bytes written so far lie in entries.
  VARVE_RETURN_IF_ERROR(live.Seal());
  OpenOptions options;
  options.mode = OpenMode::kRead;
  options.file_system = context_.file_system;
  VARVE_ASSIGN_OR_RETURN(copy_.store, Store::Open(live.file_path(), options));
  VARVE_ASSIGN_OR_RETURN(const FileInfo theirs, copy_.store->Info());
  VARVE_ASSIGN_OR_RETURN(const FileInfo ours, live.Info());
  if (!IsSameFile(theirs, ours)) {
    return SystemError(
        ESTALE,
        absl::StrCat("another file has taken the place of ", live.file_path()));
  }
  // Loading walked the whole chain, which opening the store may not have done.
  // If it found damage, a copy would lose what could be mended.
  if (!copy_.store->recovery().mends.empty()) {
    return DamageError(
        absl::StrCat("cannot compact a damaged store: ",
                     copy_.store->recovery().mends.front().reason));
  }
  copy_.identity = context_.core.identity;
  copy_.min_entries_for_image = context_.core.min_entries_for_image;
  VARVE_RETURN_IF_ERROR(LoadTree(copy_).status());
  {
    // Commits are shipped one by one; MarkInUse() must not add one.
    absl::MutexLock lock(&copy_.commit_mu);
    copy_.clean = false;
  }
  return PlanMoments();
}

absl::Status Compactor::PlanMoments() {
  VARVE_ASSIGN_OR_RETURN(const HistoryBounds bounds,
                         BoundHistory(context_.core, context_.forget));
  VARVE_ASSIGN_OR_RETURN(history_, PlanHistory(copy_, context_.now(), bounds));
  moments_ = history_.LocationsBefore();
  ship_from_ = copy_.store->tail();
  if (history_.oldest.has_value()) {
    ship_from_ = history_.oldest->end;
  } else if (!moments_.empty()) {
    VARVE_ASSIGN_OR_RETURN(moments_.emplace_back(),
                           FinderOf(copy_).Find(history_.kept_from));
  }
  if (!moments_.empty()) {
    VARVE_ASSIGN_OR_RETURN(first_,
                           PastTree::Open(copy_.store.get(), copy_.identity,
                                          moments_.front(), history_.purged));
  }
  source_ = std::move(copy_.store);
  absl::MutexLock commit_lock(&copy_.commit_mu);
  copy_.snapshots.clear();  // they are places in the old store
  forgets_at_once_ = first_ == nullptr;
  if (forgets_at_once_) return absl::OkStatus();
  copy_.last_sequence = first_->sequence();
  copy_.latest_time = first_->time();
  absl::MutexLock lock(&copy_.tree_mu);
  copy_.log_tree = first_->tree();
  return absl::OkStatus();
}

absl::Status Compactor::CheckSpace() {
  // Content that is in use but not in the tree is copied, too.
  const uint64_t needed =
      std::max(EstimateLiveBytes(copy_), EstimateLiveBytes(context_.core)) +
      (source_->tail() - ship_from_) + CountSpilledBytes(context_.open_files);
  VARVE_ASSIGN_OR_RETURN(const SpaceOnDisk space, context_.core.store->Space());
  if (space.HasRoomFor(needed + kReserve)) return absl::OkStatus();
  return SystemError(
      ENOSPC,
      absl::StrFormat("a compaction needs %d MiB of free space beside the "
                      "store, but there are only %d MiB",
                      (needed + kReserve) >> 20, space.available >> 20));
}

std::vector<EntryLocation> Compactor::EntriesOfStreams() const {
  std::vector<EntryLocation> entries;
  for (const auto& open : context_.open_files.All()) {
    absl::ReaderMutexLock lock(&open->mu);
    if (open->stream == nullptr) continue;
    for (const EntryLocation& entry : open->stream->sealed()) {
      // Later entries are shipped.
      if (entry.end() <= ship_from_) entries.push_back(entry);
    }
  }
  return entries;
}

absl::Status Compactor::CopyAll() {
  CompactionMonitor& monitor = context_.monitor;
  const uint64_t bytes = CountContentBytes(copy_);
  {
    absl::ReaderMutexLock lock(&copy_.tree_mu);
    monitor.SetTotals(bytes, copy_.totals().inodes);
  }
  TreeCopier copier(
      *source_, copy_, [this] { return NewDataId(); }, monitor, translation_);
  if (forgets_at_once_) copier.set_kept_from(history_.kept_from);
  VARVE_RETURN_IF_ERROR(copier.CopyTree());
  VARVE_RETURN_IF_ERROR(copier.CopyEntries(EntriesOfStreams()));
  VARVE_ASSIGN_OR_RETURN(UnnamedEntries::Found found, context_.unnamed.Find());
  std::vector<EntryLocation>& unnamed = found.entries;
  // What was not found by its key is not among them, and not copied.
  VARVE_RETURN_IF_ERROR(context_.core.store->CheckIndex());
  std::erase_if(unnamed, [this](const EntryLocation& entry) {
    return entry.end() > ship_from_;
  });
  VARVE_RETURN_IF_ERROR(copier.CopyEntries(unnamed));
  unnamed_limit_ = copy_.store->tail();
  MovedTree moved = copier.Moved();
  VARVE_RETURN_IF_ERROR(WriteFirstCheckpoints(
      copy_, context_.now(),
      [&moved](AddItem add) { return moved.ForEachItem(add); }));
  {
    absl::MutexLock lock(&copy_.commit_mu);
    VARVE_RETURN_IF_ERROR(WriteLeastLength(*context_.file_system, copy_));
  }
  VARVE_RETURN_IF_ERROR(CopyMoments());
  return copy_.store->Sync().status();
}

absl::Status Compactor::CopyMoments() {
  if (first_ == nullptr) return absl::OkStatus();
  HistoryCopier copier({.source = *source_,
                        .copy = copy_,
                        .translation = translation_,
                        .monitor = context_.monitor,
                        .new_data_id = [this] { return NewDataId(); },
                        .now = context_.now},
                       std::move(first_));
  VARVE_ASSIGN_OR_RETURN(MomentLocation place, LocationOfCheckpoint(copy_));
  for (size_t i = 0; i < moments_.size(); ++i) {
    if (i > 0) {
      VARVE_ASSIGN_OR_RETURN(std::unique_ptr<PastTree> tree,
                             PastTree::Open(source_.get(), copy_.identity,
                                            moments_[i], history_.purged));
      VARVE_ASSIGN_OR_RETURN(place, copier.Copy(std::move(tree)));
    }
    if (i >= history_.snapshots.size()) continue;
    absl::MutexLock lock(&copy_.commit_mu);
    copy_.snapshots.push_back(place);
  }
  return absl::OkStatus();
}

absl::Status Compactor::ShipWindow() {
  // Not all at once, so that no list of entries becomes long.
  std::vector<uint64_t> ends = {source_->tail()};
  uint64_t at;
  {
    absl::MutexLock lock(&context_.core.commit_mu);
    at = context_.core.checkpoint;
  }
  while (at != 0) {
    VARVE_ASSIGN_OR_RETURN(
        const Checkpoint checkpoint,
        ReadCheckpoint(*context_.core.store, copy_.identity, at));
    if (checkpoint.root.log_begin <= ship_from_) break;
    if (checkpoint.root.log_begin < ends.back()) {
      ends.push_back(checkpoint.root.log_begin);
    }
    at = checkpoint.root.previous;
  }
  for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
    VARVE_RETURN_IF_ERROR(shipper_->ShipTo(*end));
    if (CheckpointIsDue(copy_)) {
      VARVE_RETURN_IF_ERROR(WriteCheckpoint(copy_, context_.now()));
    }
  }
  // Of what was in the store before, all is in the copy now.
  unnamed_limit_ = copy_.store->tail();
  return absl::OkStatus();
}

std::vector<Extent> Compactor::ExtentsOfOrphans() const {
  std::vector<Extent> places;
  absl::ReaderMutexLock lock(&context_.core.tree_mu);
  context_.core.orphans.ForEachExtent(
      [&places](const Extent& extent) { places.push_back(extent); });
  return places;
}

std::vector<Extent> Compactor::ExtentsOfDirty() const {
  std::vector<Extent> places;
  for (const auto& open : context_.open_files.All()) {
    absl::ReaderMutexLock lock(&open->mu);
    for (const Extent& place : open->content.Extents()) places.push_back(place);
  }
  return places;
}

std::vector<Extent> Compactor::LooseExtents() const {
  std::vector<Extent> places = ExtentsOfDirty();
  // Those of streams have come with the streams' entries.
  std::erase_if(places,
                [](const Extent& place) { return place.entry_size == 0; });
  for (const Extent& place : ExtentsOfOrphans()) places.push_back(place);
  return places;
}

absl::Status Compactor::CatchUp() {
  Store& live = *context_.core.store;
  shipper_ = std::make_unique<LogShipper>(
      live, copy_, ship_from_, [this] { return NewDataId(); }, context_.monitor,
      translation_);
  VARVE_RETURN_IF_ERROR(ShipWindow());
  CompactionMonitor& monitor = context_.monitor;
  uint64_t before = monitor.progress().bytes_done;
  for (int round = 0; round < kMaxRounds; ++round) {
    VARVE_RETURN_IF_ERROR(live.Seal());
    const uint64_t end = live.tail();
    const uint64_t behind = end - shipper_->shipped();
    // If programs write nearly as fast as the limit allows, the compaction
    // would never end.
    if (behind > before / 2) monitor.LiftLimit();
    before = behind;
    monitor.SetBytesLeft(behind);
    VARVE_RETURN_IF_ERROR(shipper_->ShipTo(end));
    VARVE_RETURN_IF_ERROR(shipper_->CopyLoose(LooseExtents()));
    // The pieces of streams are found in the new file by their keys, and that
    // must not take time then.
    if (!EntriesOfStreams().empty()) copy_.store->BuildIndex();
    // Sync now, so that the last sync has little to do.
    VARVE_RETURN_IF_ERROR(copy_.store->Sync().status());
    if (behind < kShortLog) break;
  }
  return absl::OkStatus();
}

void Compactor::ExchangeTree(std::shared_ptr<LogTree>& tree) {
  absl::MutexLock lock(&context_.core.tree_mu);
  std::swap(context_.core.log_tree, tree);
}

absl::Status Compactor::FindNewExtents(absl::Span<const Extent> extents) {
  for (const Extent& extent : extents) {
    VARVE_ASSIGN_OR_RETURN(const std::vector<Extent> parts,
                           translation_.Translate(extent, nullptr));
    for (const Extent& part : parts) {
      const uint64_t skip = part.file_offset - extent.file_offset;
      VARVE_RETURN_IF_ERROR(loose_.Add(extent.store_offset + skip, part));
    }
  }
  return absl::OkStatus();
}

std::vector<Extent> Compactor::NewExtentsOf(const Extent& extent) const {
  const auto parts = loose_.Translate(extent, nullptr);
  assert(parts.ok());  // all of it is in memory
  return parts.ok() ? *parts : std::vector<Extent>{extent};
}

void Compactor::MoveOrphans() {
  Core& core = context_.core;
  absl::MutexLock lock(&core.tree_mu);
  core.orphans.MoveExtents(
      [this](const Extent& extent) { return NewExtentsOf(extent); });
  context_.reader.ForgetLocations();
}

void Compactor::MoveDirty() {
  context_.core.relocation_mu.AssertHeld();
  for (const auto& open : context_.open_files.All()) {
    absl::MutexLock lock(&open->mu);
    open->content.MoveExtents(
        [this](const Extent& extent) { return NewExtentsOf(extent); });
  }
}

absl::Status Compactor::SwitchLocked(absl::Span<const Extent> dirty) {
  Core& core = context_.core;
  core.relocation_mu.AssertHeld();
  core.commit_mu.AssertHeld();
  VARVE_RETURN_IF_ERROR(core.store->Seal());
  VARVE_RETURN_IF_ERROR(forgets_at_once_
                            ? CheckPlan(core, history_)
                            : CommitPlan(core, history_, context_.now()));
  VARVE_RETURN_IF_ERROR(shipper_->ShipTo(core.store->tail()));
  VARVE_RETURN_IF_ERROR(FindNewExtents(ExtentsOfOrphans()));
  VARVE_RETURN_IF_ERROR(FindNewExtents(dirty));
  VARVE_RETURN_IF_ERROR(copy_.store->Sync().status());
  absl::MutexLock copy_lock(&copy_.commit_mu);
  if (copy_.last_sequence != core.last_sequence) {
    return absl::InternalError(absl::StrCat("commit ", core.last_sequence,
                                            " was not shipped, but ",
                                            copy_.last_sequence));
  }
  {
    absl::MutexLock lock(&copy_.tree_mu);
    VARVE_RETURN_IF_ERROR(FindSnapshotLocations(copy_));
    old_tree_ =
        std::move(copy_.log_tree);  // the new tree, until the exchange below
  }
  // Other threads read names and attributes meanwhile. For a moment, they read
  // from the new tree while the old file is in place. That does no harm, as
  // nobody reads content.
  VARVE_RETURN_IF_ERROR(old_tree_->segments.Detach());
  ExchangeTree(old_tree_);
  const absl::Status replaced = core.store->ReplaceBy(std::move(copy_.store));
  if (!replaced.ok()) {
    ExchangeTree(old_tree_);
    return replaced;
  }
  // From here on, the new file is the store, even if something fails.
  ++core.relocations;
  {
    absl::MutexLock lock(&core.tree_mu);
    core.log_tree->segments.Attach(core.store.get());
  }
  MoveOrphans();
  core.checkpoint = copy_.checkpoint;
  core.checkpoint_before = copy_.checkpoint_before;
  core.snapshots = copy_.snapshots;
  core.log_bytes = copy_.log_bytes;
  core.clean = false;  // the new file has no commit that marks it as closed
  context_.unnamed.SetLimit(unnamed_limit_);
  return absl::OkStatus();
}

absl::Status Compactor::Switch() {
  Core& core = context_.core;
  VARVE_RETURN_IF_ERROR(context_.monitor.WaitUntil(
      [this] { return !context_.copy_gate.has_copies(); }));
  context_.monitor.SetPhase(CompactionPhase::kSwitching);
  // A checkpoint that is being written belongs to the old store, so wait for
  // it. The stall counts from here on: operations wait behind the lock on
  // relocation_mu.
  absl::MutexLock checkpoint_lock(&core.checkpoint_mu);
  const absl::Time begin = absl::Now();
  absl::MutexLock relocation_lock(&core.relocation_mu);
  // All extents of files that are deleted from here on have been copied.
  absl::Status status = shipper_->CopyLoose(LooseExtents());
  if (status.ok()) {
    const std::vector<Extent> dirty = ExtentsOfDirty();
    absl::MutexLock commit_lock(&core.commit_mu);
    status = SwitchLocked(dirty);
  }
  if (status.ok()) MoveDirty();
  context_.monitor.NoteStall(absl::Now() - begin);
  return status;
}

absl::Status Compactor::Run() {
  Core& core = context_.core;
  const CopyGate::Closing closing(context_.copy_gate);
  VARVE_RETURN_IF_ERROR(CheckReplacementPath());
  VARVE_RETURN_IF_ERROR(LoadCopy());
  if (KeepsEverything()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(CheckSpace());
  VARVE_ASSIGN_OR_RETURN(copy_.store, core.store->MakeReplacement());
  context_.monitor.PauseUnless(
      [&core] {
        const absl::StatusOr<SpaceOnDisk> space = core.store->Space();
        return !space.ok() || space->HasRoomFor(kReserve);
      },
      kLongestPause);
  absl::Status status;
  {
    const IdlePriority priority(context_.background);
    status = CopyAll();
    context_.monitor.SetPhase(CompactionPhase::kCatchingUp);
    if (status.ok()) status = CatchUp();
  }
  if (status.ok()) status = Switch();
  if (copy_.store != nullptr) core.store->Abandon(std::move(copy_.store));
  return status;
}

}  // namespace varve::fs
