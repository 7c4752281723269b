// Compaction, as far as the volume goes: when, one at a time, and what is told
// of it.

#include <errno.h>
#include <malloc.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/start_thread.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/compaction/compactor.h"
#include "fs/compaction/live_bytes.h"
#include "fs/compaction/puncher.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

// When the store has grown by so much it is looked at at once.
constexpr uint64_t kMuch = uint64_t{64} << 20;
// On a full disk it is punched as soon as this much has died, but not all the
// time; and now and then in any case, for what was in use may be so no more.
constexpr uint64_t kLeastPressurePunch = 4096;
constexpr absl::Duration kPressurePause = absl::Seconds(1);
constexpr int kPressureShare = 10;  // of the time for punching, one part in ten
constexpr absl::Duration kVainPressurePause = absl::Minutes(1);

}  // namespace

uint64_t Volume::CountLiveBytes() {
  // In this order: what is committed in between counts twice rather than not at
  // all.
  const uint64_t spilled = CountSpilledBytes(open_files_);
  return spilled + EstimateLiveBytes(core_) + unnamed_.bytes();
}

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
  const uint64_t dead = before - std::min(before, CountLiveBytes());
  absl::Status status;
  if (options.punch) {
    status = Puncher({.core = core_,
                      .open_files = open_files_,
                      .monitor = compaction_,
                      .now = options_.now,
                      .unnamed = unnamed_,
                      .copy_gate = copy_gate_,
                      .answers = answers_,
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
                        .unnamed = unnamed_,
                        .copy_gate = copy_gate_,
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
  if (!busy) {
    policy_.NoteEnd(options.punch, after - std::min(after, CountLiveBytes()));
  }
  // A copy that has failed says nothing of what punching would leave.
  if (!busy && (options.punch || status.ok())) {
    policy_.SetDeadLeft(dead - std::min(dead, won));
  }
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
  statistics.live_bytes = CountLiveBytes();
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

CompactionPolicy::Due Volume::FindDue() {
  if (policy_.never() || read_only() || compaction_.progress().running()) {
    return {};
  }
  const absl::StatusOr<FileInfo> info = core_.store->Info();
  if (!info.ok()) {
    Report(info.status());
    return {};
  }
  // Not worth a look at the tree.
  if (info->allocated < CompactionPolicy::kMinDeadBytes) return {};
  const uint64_t live = CountLiveBytes();
  CompactionPolicy::Due due = policy_.Find(live, info->allocated);
  if (!due.copy) return due;
  const absl::StatusOr<SpaceOnDisk> space = core_.store->Space();
  due.copy = space.ok() && space->HasRoomFor(2 * live);
  return due;
}

void Volume::CompactIfDue(bool may_copy) {
  const absl::Time begin = absl::Now();
  // A file that is being copied is dead twice for the moment.
  if (!policy_.MayLook(begin) || copy_gate_.has_copies()) return;
  const CompactionPolicy::Due due = FindDue();
  policy_.NoteLook(begin, absl::Now());
  if (due.copy && may_copy) {
    Report(StartCompaction({.background = true}));
  } else if (due.punch) {
    Report(StartCompaction({.punch = true, .background = true}));
  }
}

void Volume::PunchBeforeClosing() {
  if (policy_.writing_time() == absl::ZeroDuration()) return;
  if (!FindDue().punch) return;
  const absl::Time begin = absl::Now();
  // It needs that, and closing does so in any case.
  const absl::Status synced = SyncAll();
  if (!synced.ok()) return Report(synced);
  const CompactionOptions options = {
      .punch = true,
      .background = true,
      .longest = policy_.writing_time() + (absl::Now() - begin)};
  compaction_.Begin(options);
  RunCompaction(options);
}

void Volume::NoteSpacePressure() {
  absl::MutexLock lock(&syncer_mu_);
  if (under_pressure_) return;
  under_pressure_ = true;
  syncer_wakeup_.Wake();
}

void Volume::PunchForSpace() {
  if (policy_.never() || read_only()) {
    return;
  }
  const Wakeup::Clock::time_point now = Wakeup::Clock::now();
  const CompactionProgress progress = compaction_.progress();
  if (progress.running() && !progress.punch) {
    // The copy is in the way itself.
    compaction_.GiveUpCopying(
        SystemError(ENOSPC, "the disk has become full; the copy made room"));
    next_pressure_punch_ = Wakeup::After(kPressurePause);
    return NoteSpacePressure();
  }
  next_pressure_punch_ = Wakeup::After(std::clamp(
      kPressureShare * progress.elapsed, kPressurePause, kVainPressurePause));
  // What has died since it began is looked at when it has ended.
  if (progress.running()) return NoteSpacePressure();
  const absl::StatusOr<StoreStatistics> figures = GetStatistics();
  if (!figures.ok()) return Report(figures.status());
  // What was left last time would be left again.
  if (figures->dead_bytes < policy_.dead_left() + kLeastPressurePunch &&
      now < last_pressure_punch_ +
                absl::ToChronoNanoseconds(kVainPressurePause)) {
    return;
  }
  last_pressure_punch_ = now;
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
