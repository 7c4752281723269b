// Compaction, as far as the volume goes: when, one at a time, and what is told
// of it.

#include <errno.h>
#include <malloc.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/start_thread.h"
#include "engine/status.h"
#include "fs/compactor.h"
#include "fs/error.h"
#include "fs/puncher.h"
#include "fs/volume.h"

namespace varve::fs {
namespace {

// Below this much, compactions are not started by themselves.
constexpr uint64_t kMinDeadBytes = uint64_t{64} << 20;
// When the store has grown by so much it is looked at at once.
constexpr uint64_t kMuch = uint64_t{64} << 20;
// On a full disk it is punched as soon as this much has died, but not all the
// time; and now and then in any case, for what was in use may be so no more.
constexpr uint64_t kLeastRelief = 4096;
constexpr absl::Duration kReliefPause = absl::Seconds(1);
constexpr int kReliefShare = 10;  // of the time for punching, one part in ten
constexpr absl::Duration kVainReliefPause = absl::Minutes(1);

}  // namespace

absl::Status Volume::StartCompaction(const CompactionOptions& options) {
  if (read_only()) return PosixError(EROFS);
  absl::MutexLock lock(&compactor_mu_);
  if (compaction_.progress().running()) return absl::OkStatus();
  if (compactor_.joinable()) compactor_.join();
  compaction_.Begin(options);
  if (StartThread(compactor_, [this, options] { RunCompaction(options); })) {
    return absl::OkStatus();
  }
  const absl::Status status =
      SystemError(EAGAIN, "there is no thread for a compaction");
  compaction_.End(status, 0);
  return status;
}

void Volume::RunCompaction(const CompactionOptions& options) {
  const auto allocated = [this]() -> uint64_t {
    const absl::StatusOr<FileInfo> info = core_.store->Info();
    return info.ok() ? info->allocated : 0;
  };
  const uint64_t before = allocated();
  const uint64_t dead = before - std::min(before, EstimateLiveBytes(core_));
  absl::Status status;
  if (options.punch) {
    status = Puncher({.core = core_,
                      .open_files = open_files_,
                      .monitor = compaction_,
                      .now = options_.now,
                      .unnamed = [this] { return Unnamed(); },
                      .sync = [this] { return SyncAll(); },
                      .background = options.background})
                 .Run();
  } else {
    status = Compactor({.core = core_,
                        .open_files = open_files_,
                        .reader = reader_,
                        .monitor = compaction_,
                        .file_system = options_.file_system,
                        .now = options_.now,
                        .unnamed = [this] { return Unnamed(); },
                        .background = options.background})
                 .Run();
    if (status.ok()) status = SyncAll();
  }
  // What was made for it lies between what stays, and would be kept for the
  // thread that comes next.
  malloc_trim(0);
  const uint64_t after = allocated();
  const uint64_t won = before - std::min(before, after);
  // Readers come and go: that is tried again at the next look.
  const bool busy = options.background && SystemErrorNumber(status) == EBUSY;
  if (!status.ok() && !absl::IsCancelled(status) && !busy) {
    Report(Annotate(status, "compaction"));
  }
  // Whatever it was good for, it is not repeated by itself before there is
  // more.
  if (!busy) next_automatic_punch_.store(after + kMinDeadBytes);
  if (!options.punch) next_automatic_copy_.store(after + kMinDeadBytes);
  if (!busy) dead_left_.store(dead - std::min(dead, won));
  compaction_.End(status, won);
}

CompactionProgress Volume::GetCompactionProgress() const {
  return compaction_.progress();
}

void Volume::CancelCompaction() { compaction_.Cancel(); }

absl::Status Volume::WaitForCompaction() { return compaction_.WaitForEnd(); }

void Volume::StopCompaction() {
  compaction_.Cancel();
  absl::MutexLock lock(&compactor_mu_);
  if (compactor_.joinable()) compactor_.join();
}

absl::StatusOr<StoreStatistics> Volume::GetStatistics() {
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, core_.store->Info());
  StoreStatistics statistics;
  statistics.total_bytes = core_.store->tail();
  statistics.allocated_bytes = info.allocated;
  statistics.live_bytes = EstimateLiveBytes(core_);
  statistics.dead_bytes =
      info.allocated - std::min(info.allocated, statistics.live_bytes);
  statistics.peak_extra_bytes = statistics.live_bytes;
  statistics.entries = core_.store->size();
  {
    absl::MutexLock lock(&core_.commit_mu);
    statistics.commits = core_.last_sequence;
  }
  absl::ReaderMutexLock lock(&core_.tree_mu);
  statistics.files = core_.tree.inode_count();
  statistics.extents = core_.tree.extent_count();
  return statistics;
}

void Volume::NoteGrowth() {
  const uint64_t tail = core_.store->tail();
  if (tail < next_look_.load(std::memory_order_relaxed)) return;
  absl::MutexLock lock(&syncer_mu_);
  if (next_look_.load() > 0) syncer_wakeup_.Wake();
  next_look_.store(tail + kMuch);
}

void Volume::CompactIfDue() {
  const AutoCompaction& policy = options_.auto_compaction;
  if (policy.mode == AutoCompaction::Mode::kNever || read_only()) return;
  if (compaction_.progress().running()) return;
  const absl::StatusOr<StoreStatistics> figures = GetStatistics();
  if (!figures.ok()) return Report(figures.status());
  const uint64_t total = figures->total_bytes;
  const uint64_t live = figures->live_bytes;
  const uint64_t dead = figures->dead_bytes;
  // What is left of dead entries after punching: metadata, padding, and parts
  // of blocks.
  const bool copy = policy.mode == AutoCompaction::Mode::kRatio
                        ? static_cast<double>(dead) >
                              policy.dead_ratio *
                                  static_cast<double>(figures->allocated_bytes)
                        : dead > figures->allocated_bytes / 2;
  if (dead < kMinDeadBytes || total < live) return;
  if (copy && next_automatic_copy_.load() <= figures->allocated_bytes) {
    const absl::StatusOr<SpaceOnDisk> space = core_.store->Space();
    if (space.ok() && space->available > 2 * live) {
      return Report(StartCompaction({.background = true}));
    }
  }
  if (dead > figures->allocated_bytes / 4 &&
      next_automatic_punch_.load() <= figures->allocated_bytes) {
    Report(StartCompaction({.punch = true, .background = true}));
  }
}

void Volume::NoteShortage() {
  absl::MutexLock lock(&syncer_mu_);
  if (short_of_space_) return;
  short_of_space_ = true;
  syncer_wakeup_.Wake();
}

void Volume::PunchForSpace() {
  if (options_.auto_compaction.mode == AutoCompaction::Mode::kNever ||
      read_only()) {
    return;
  }
  const Wakeup::Clock::time_point now = Wakeup::Clock::now();
  const CompactionProgress progress = compaction_.progress();
  next_relief_ = Wakeup::After(std::clamp(kReliefShare * progress.elapsed,
                                          kReliefPause, kVainReliefPause));
  // What has died since it began is looked at when it has ended.
  if (progress.running()) return NoteShortage();
  const absl::StatusOr<StoreStatistics> figures = GetStatistics();
  if (!figures.ok()) return Report(figures.status());
  // What was left last time would be left again.
  if (figures->dead_bytes < dead_left_.load() + kLeastRelief &&
      now < last_relief_ + absl::ToChronoNanoseconds(kVainReliefPause)) {
    return;
  }
  last_relief_ = now;
  Report(StartCompaction({.punch = true, .background = true}));
}

void Volume::RemoveLeftover() {
  const std::string path = core_.store->replacement_path();
  FileSystem& files = *options_.file_system;
  const absl::StatusOr<bool> leftover = IsLeftover(files, path, core_.identity);
  if (!leftover.ok() || !*leftover) return;
  const absl::Status removed = files.Remove(path);
  if (removed.ok()) {
    notes_.push_back(
        absl::StrCat("removed ", path, ", which a compaction had left behind"));
  } else {
    Report(removed);
  }
}

}  // namespace varve::fs
