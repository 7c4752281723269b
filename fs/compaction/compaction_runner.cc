#include "fs/compaction/compaction_runner.h"

#include <errno.h>
#include <malloc.h>

#include <algorithm>

#include "engine/base/start_thread.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/compaction/compactor.h"
#include "fs/compaction/live_bytes.h"
#include "fs/compaction/puncher.h"
#include "fs/history/history_plan.h"

namespace varve::fs {
namespace {

// On a full disk, punching starts as soon as this much has died since the last
// time, but takes only a part of the time. It starts after kVainPressurePause
// in any case, because entries may have come out of use. (A single block may be
// one that an append has taken.)
constexpr uint64_t kLeastPressurePunch = 2 * 4096;
constexpr absl::Duration kPressurePause = absl::Seconds(1);
constexpr int kPressureShare =
    10;  // punching takes at most one part in ten of the time
constexpr absl::Duration kVainPressurePause = absl::Minutes(1);

}  // namespace

uint64_t CompactionRunner::CountNeeded() {
  return CountLiveBytes(context_.core, context_.open_files, context_.unnamed);
}

uint64_t CompactionRunner::AllocatedBytes() {
  const absl::StatusOr<FileInfo> info = context_.core.store->Info();
  return info.ok() ? info->allocated : 0;
}

absl::Status CompactionRunner::Start(const CompactionOptions& options) {
  if (context_.core.store->read_only()) return PosixError(EROFS);
  absl::MutexLock lock(&mu_);
  if (monitor_.progress().running()) return absl::OkStatus();
  if (thread_.joinable()) thread_.join();
  monitor_.Begin(options);
  if (StartThread(thread_, [this, options] { Run(options); })) {
    return absl::OkStatus();
  }
  const absl::Status status =
      SystemError(EAGAIN, "cannot start a thread for the compaction");
  monitor_.End(status, 0);
  return status;
}

absl::Status CompactionRunner::Punch(const CompactionOptions& options) {
  return Puncher(
             {.core = context_.core,
              .open_files = context_.open_files,
              .monitor = monitor_,
              .now = context_.now,
              .unnamed = context_.unnamed,
              .copy_gate = context_.copy_gate,
              .answers = context_.answers,
              .sync = [this] { return context_.core.store->Sync().status(); },
              .background = options.background,
              .forget = options.forget})
      .Run();
}

absl::Status CompactionRunner::Copy(const CompactionOptions& options) {
  VARVE_RETURN_IF_ERROR(Compactor({.core = context_.core,
                                   .open_files = context_.open_files,
                                   .reader = context_.reader,
                                   .monitor = monitor_,
                                   .file_system = context_.file_system,
                                   .now = context_.now,
                                   .unnamed = context_.unnamed,
                                   .copy_gate = context_.copy_gate,
                                   .background = options.background,
                                   .forget = options.forget})
                            .Run());
  return context_.core.store->Sync().status();
}

void CompactionRunner::Run(const CompactionOptions& options) {
  const uint64_t before = AllocatedBytes();
  const uint64_t dead = before - std::min(before, CountNeeded());
  const absl::Status status = options.punch ? Punch(options) : Copy(options);
  // Give the compaction's memory back to the host; malloc would keep it for the
  // next thread.
  malloc_trim(0);
  const uint64_t after = AllocatedBytes();
  const uint64_t reclaimed = before - std::min(before, after);
  // A reader has the store open. The next check tries again.
  const bool busy = options.background && SystemErrorNumber(status) == EBUSY;
  if (!status.ok() && !absl::IsCancelled(status) && !busy) {
    context_.incidents.Report(Annotate(status, "compaction"));
  }
  if (!busy) {
    policy_.NoteEnd(options.punch, after - std::min(after, CountNeeded()));
  }
  // A failed copy does not tell what punching would leave.
  if (!busy && (options.punch || status.ok())) {
    policy_.SetDeadLeft(dead - std::min(dead, reclaimed));
  }
  monitor_.End(status, reclaimed);
}

void CompactionRunner::Stop() {
  monitor_.Cancel();
  absl::MutexLock lock(&mu_);
  if (thread_.joinable()) thread_.join();
}

HistoryPolicy CompactionRunner::ReadHistoryPolicy() {
  absl::ReaderMutexLock lock(&context_.core.tree_mu);
  const absl::StatusOr<HistoryPolicy> policy = PolicyOf(context_.core);
  if (policy.ok()) return *policy;
  context_.incidents.Report(policy.status());
  return {.within = absl::ZeroDuration()};
}

CompactionPolicy::Due CompactionRunner::FindDue() {
  Store& store = *context_.core.store;
  if (policy_.never() || store.read_only() || monitor_.progress().running()) {
    return {};
  }
  const absl::StatusOr<FileInfo> info = store.Info();
  if (!info.ok()) {
    context_.incidents.Report(info.status());
    return {};
  }
  // So small a store is not worth counting.
  if (info->allocated < CompactionPolicy::kMinDeadBytes) return {};
  const uint64_t live = CountNeeded();
  // What history may have is not dead.
  const absl::StatusOr<uint64_t> history = [&] {
    absl::ReaderMutexLock lock(&context_.core.tree_mu);
    return CountHistoryBytes(context_.core, live, info->allocated);
  }();
  if (!history.ok()) {
    context_.incidents.Report(history.status());
    return {};
  }
  CompactionPolicy::Due due = policy_.Find(live + *history, info->allocated);
  if (!due.copy) return due;
  const absl::StatusOr<SpaceOnDisk> space = store.Space();
  due.copy = space.ok() && space->HasRoomFor(2 * (live + *history));
  return due;
}

void CompactionRunner::StartIfDue(bool may_copy) {
  const absl::Time begin = absl::Now();
  // A file that is being copied counts as dead twice for the moment.
  if (!policy_.MayLook(begin) || context_.copy_gate.has_copies()) return;
  const CompactionPolicy::Due due = FindDue();
  policy_.NoteLook(begin, absl::Now());
  if (due.copy && may_copy) {
    context_.incidents.Report(Start({.background = true}));
  } else if (due.punch) {
    context_.incidents.Report(Start({.punch = true, .background = true}));
  }
}

void CompactionRunner::PunchBeforeClosing() {
  if (policy_.writing_time() == absl::ZeroDuration()) return;
  if (!FindDue().punch) return;
  const absl::Time begin = absl::Now();
  // Punching needs a sync first, and closing syncs in any case.
  const absl::Status synced = context_.core.store->Sync().status();
  if (!synced.ok()) return context_.incidents.Report(synced);
  const CompactionOptions options = {
      .punch = true,
      .background = true,
      .longest = policy_.writing_time() + (absl::Now() - begin)};
  monitor_.Begin(options);
  Run(options);
}

PressureResponse CompactionRunner::MakeRoom() {
  if (policy_.never() || context_.core.store->read_only()) return {};
  const Wakeup::Clock::time_point now = Wakeup::Clock::now();
  const CompactionProgress progress = monitor_.progress();
  if (progress.running() && !progress.punch) {
    // The copy itself takes the space.
    monitor_.GiveUpCopying(SystemError(
        ENOSPC,
        "the disk became full, so the new file was deleted to make room"));
    return {.pause = kPressurePause, .again = true};
  }
  // If punching is under way, entries that have died since are for the next
  // attempt.
  const PressureResponse response = {
      .pause = std::clamp(kPressureShare * progress.elapsed, kPressurePause,
                          kVainPressurePause),
      .again = progress.running()};
  if (response.again) return response;
  const absl::StatusOr<StoreStatistics> figures =
      CountStatistics(context_.core, context_.open_files, context_.unnamed);
  if (!figures.ok()) {
    context_.incidents.Report(figures.status());
    return response;
  }
  // Punching would leave what it left last time.
  if (figures->dead_bytes < policy_.dead_left() + kLeastPressurePunch &&
      now < Wakeup::Later(last_pressure_punch_, kVainPressurePause)) {
    return response;
  }
  last_pressure_punch_ = now;
  // History gives way to what is written now.
  const bool forget = !ReadHistoryPolicy().hard;
  context_.incidents.Report(
      Start({.punch = true, .forget = forget, .background = true}));
  return response;
}

}  // namespace varve::fs
