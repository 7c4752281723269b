#include "fs/compaction/compaction_monitor.h"

#include <errno.h>

#include <algorithm>

#include "engine/base/status.h"

namespace varve::fs {
namespace {

// How much is copied between two checks of the free space.
constexpr uint64_t kBytesBetweenLooks = uint64_t{4} << 20;
// How often conditions are checked whose changes are not signalled.
constexpr absl::Duration kWaitingInterval = absl::Seconds(1);

}  // namespace

void CompactionMonitor::Begin(const CompactionOptions& options) {
  absl::MutexLock lock(&mu_);
  progress_ = {.phase = options.punch ? CompactionPhase::kPunching
                                      : CompactionPhase::kCopying,
               .punch = options.punch};
  bytes_per_second_ = options.bytes_per_second;
  stopped_ = false;
  reason_ = absl::OkStatus();
  next_look_ = 0;
  has_room_ = nullptr;
  started_ = absl::Now();
  deadline_ = started_ + options.longest;
}

void CompactionMonitor::End(const absl::Status& result,
                            uint64_t bytes_reclaimed) {
  absl::MutexLock lock(&mu_);
  progress_.phase = CompactionPhase::kEnded;
  progress_.result = result;
  progress_.bytes_reclaimed = bytes_reclaimed;
  progress_.elapsed = absl::Now() - started_;
}

void CompactionMonitor::SetPhase(CompactionPhase phase) {
  absl::MutexLock lock(&mu_);
  progress_.phase = phase;
}

void CompactionMonitor::SetTotals(uint64_t bytes, uint64_t files) {
  absl::MutexLock lock(&mu_);
  progress_.bytes_total = bytes;
  progress_.files_total = files;
}

void CompactionMonitor::SetBytesLeft(uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  progress_.bytes_total = progress_.bytes_done + bytes;
}

void CompactionMonitor::LiftLimit() {
  absl::MutexLock lock(&mu_);
  bytes_per_second_ = 0;
}

void CompactionMonitor::NoteStall(absl::Duration stall) {
  absl::MutexLock lock(&mu_);
  progress_.longest_stall = std::max(progress_.longest_stall, stall);
}

void CompactionMonitor::CountFile() {
  absl::MutexLock lock(&mu_);
  ++progress_.files_done;
}

absl::Status CompactionMonitor::Count(uint64_t bytes) {
  {
    absl::MutexLock lock(&mu_);
    progress_.bytes_done += bytes;
    // The limit does not apply while other operations are blocked.
    if (progress_.phase == CompactionPhase::kSwitching) return CheckLocked();
    if (bytes_per_second_ > 0) {
      const double seconds = static_cast<double>(progress_.bytes_done) /
                             static_cast<double>(bytes_per_second_);
      mu_.AwaitWithDeadline(absl::Condition(&stopped_),
                            started_ + absl::Seconds(seconds));
    }
    if (has_room_ == nullptr || progress_.bytes_done < next_look_) {
      return CheckLocked();
    }
    next_look_ = progress_.bytes_done + kBytesBetweenLooks;
  }
  VARVE_ASSIGN_OR_RETURN(const bool has_room,
                         WaitUntil(has_room_, absl::Now() + longest_pause_));
  if (has_room) return absl::OkStatus();
  return SystemError(ENOSPC,
                     "the disk was nearly full and stayed so; free some space, "
                     "then compact again");
}

absl::Status CompactionMonitor::WaitUntil(
    const std::function<bool()>& condition) {
  return WaitUntil(condition, absl::InfiniteFuture()).status();
}

absl::StatusOr<bool> CompactionMonitor::WaitUntil(
    const std::function<bool()>& condition, absl::Time deadline) {
  while (true) {
    const bool holds = condition();
    absl::MutexLock lock(&mu_);
    VARVE_RETURN_IF_ERROR(CheckLocked());
    const absl::Time now = absl::Now();
    if (holds || now >= deadline) return holds;
    mu_.AwaitWithDeadline(
        absl::Condition(&stopped_),
        std::min({deadline, deadline_, now + kWaitingInterval}));
  }
}

absl::Status CompactionMonitor::Check() const {
  absl::MutexLock lock(&mu_);
  return CheckLocked();
}

absl::Status CompactionMonitor::CheckLocked() const {
  if (stopped_) return reason_;
  if (absl::Now() < deadline_) return absl::OkStatus();
  return absl::CancelledError("the compaction has used up its time");
}

void CompactionMonitor::Stop(const absl::Status& why) {
  if (stopped_) return;
  stopped_ = true;
  reason_ = why;
}

void CompactionMonitor::Cancel() {
  absl::MutexLock lock(&mu_);
  Stop(absl::CancelledError("the compaction was cancelled"));
}

void CompactionMonitor::GiveUpCopying(const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  if (progress_.running() && !progress_.punch) Stop(why);
}

CompactionProgress CompactionMonitor::progress() const {
  absl::MutexLock lock(&mu_);
  CompactionProgress progress = progress_;
  if (progress.running()) progress.elapsed = absl::Now() - started_;
  return progress;
}

absl::Status CompactionMonitor::WaitForEnd() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(
      +[](CompactionProgress* progress) { return !progress->running(); },
      &progress_));
  return progress_.result;
}

}  // namespace varve::fs
