#include "fs/compaction_monitor.h"

#include <algorithm>

namespace varve::fs {
namespace {

// How much is copied before the free space is looked at again.
constexpr uint64_t kBytesBetweenLooks = uint64_t{4} << 20;

}  // namespace

void CompactionMonitor::Begin(const CompactionOptions& options) {
  absl::MutexLock lock(&mu_);
  progress_ = {.phase = options.punch ? CompactionPhase::kPunching
                                      : CompactionPhase::kCopying,
               .punch = options.punch};
  bytes_per_second_ = options.bytes_per_second;
  cancelled_ = false;
  next_look_ = 0;
  has_room_ = nullptr;
  started_ = absl::Now();
}

void CompactionMonitor::End(const absl::Status& result, uint64_t bytes_won) {
  absl::MutexLock lock(&mu_);
  progress_.phase = CompactionPhase::kEnded;
  progress_.result = result;
  progress_.bytes_won = bytes_won;
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
    // Nobody is to be held up by the limit.
    if (progress_.phase == CompactionPhase::kSwitching) return CheckLocked();
    if (bytes_per_second_ > 0) {
      const double seconds = static_cast<double>(progress_.bytes_done) /
                             static_cast<double>(bytes_per_second_);
      mu_.AwaitWithDeadline(absl::Condition(&cancelled_),
                            started_ + absl::Seconds(seconds));
    }
    if (has_room_ == nullptr || progress_.bytes_done < next_look_) {
      return CheckLocked();
    }
    next_look_ = progress_.bytes_done + kBytesBetweenLooks;
  }
  return WaitUntil(has_room_);
}

absl::Status CompactionMonitor::WaitUntil(
    const std::function<bool()>& condition) {
  while (!condition()) {
    absl::MutexLock lock(&mu_);
    if (mu_.AwaitWithTimeout(absl::Condition(&cancelled_), absl::Seconds(1))) {
      break;
    }
  }
  return Check();
}

absl::Status CompactionMonitor::Check() const {
  absl::MutexLock lock(&mu_);
  return CheckLocked();
}

absl::Status CompactionMonitor::CheckLocked() const {
  return cancelled_ ? absl::CancelledError("the compaction was cancelled")
                    : absl::OkStatus();
}

void CompactionMonitor::Cancel() {
  absl::MutexLock lock(&mu_);
  cancelled_ = true;
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
