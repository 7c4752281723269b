// CompactionMonitor: takes the progress of a running compaction from its
// thread, and passes requests to slow down, pause or stop to it.
//
// Thread-safe.

#ifndef VARVE_FS_COMPACTION_COMPACTION_MONITOR_H_
#define VARVE_FS_COMPACTION_COMPACTION_MONITOR_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fs/compaction/compaction.h"

namespace varve::fs {

class CompactionMonitor {
 public:
  // --- For the thread that compacts ---

  void Begin(const CompactionOptions& options);
  void End(const absl::Status& result, uint64_t bytes_reclaimed);
  void SetPhase(CompactionPhase phase);
  void SetTotals(uint64_t bytes, uint64_t files);
  // Sets how many bytes are still to be copied.
  void SetBytesLeft(uint64_t bytes);
  // Removes the limit of bytes per second.
  void LiftLimit();
  void NoteStall(absl::Duration stall);
  void CountFile();
  // From now on, Count() calls `has_room` from time to time. If it returns
  // false, Count() waits until it returns true, or fails with ENOSPC after
  // `longest`. Must be called before the first Count().
  void PauseUnless(std::function<bool()> has_room, absl::Duration longest) {
    has_room_ = std::move(has_room);
    longest_pause_ = longest;
  }
  // Counts bytes that were copied, and waits as the limit demands. Fails if the
  // compaction must end: with CANCELLED, or with the error of GiveUpCopying()
  // or PauseUnless().
  absl::Status Count(uint64_t bytes);
  // Waits until `condition` holds, checking it every second. Fails if the
  // compaction must end.
  absl::Status WaitUntil(const std::function<bool()>& condition);
  absl::Status Check() const;  // fails if the compaction must end

  // --- For any thread ---

  void Cancel();
  // Makes a running compaction that copies end with this error.
  void GiveUpCopying(const absl::Status& why);
  CompactionProgress progress() const;
  absl::Status WaitForEnd();

 private:
  absl::Status CheckLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void Stop(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The same until `deadline`; returns whether the condition holds.
  absl::StatusOr<bool> WaitUntil(const std::function<bool()>& condition,
                                 absl::Time deadline);

  // Only for the thread that compacts.
  std::function<bool()> has_room_;
  absl::Duration longest_pause_;
  mutable absl::Mutex mu_;
  CompactionProgress progress_ ABSL_GUARDED_BY(mu_);
  absl::Time started_ ABSL_GUARDED_BY(mu_);
  uint64_t bytes_per_second_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_look_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time deadline_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status reason_ ABSL_GUARDED_BY(mu_);  // why it must stop
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTION_MONITOR_H_
