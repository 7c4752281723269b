// CompactionMonitor: what a running compaction tells of itself, and is told.
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
  // Says how many bytes are to come after those counted so far.
  void SetBytesLeft(uint64_t bytes);
  // From now on there is no limit of bytes a second.
  void LiftLimit();
  void NoteStall(absl::Duration stall);
  void CountFile();
  // Called now and then while bytes are counted; copying pauses until it
  // returns true, or ends with ENOSPC if it has not after `longest`. To be set
  // before anything is counted.
  void PauseUnless(std::function<bool()> has_room, absl::Duration longest) {
    has_room_ = std::move(has_room);
    longest_pause_ = longest;
  }
  // Says that so many bytes have been copied, and waits as the rate limit
  // demands. An error if the compaction is to end: CANCELLED, or that of
  // GiveUp().
  absl::Status Count(uint64_t bytes);
  // Waits until `condition` holds, looking every second. Errors as above.
  absl::Status WaitUntil(const std::function<bool()>& condition);
  absl::Status Check() const;  // whether to go on

  // --- For everybody ---

  void Cancel();
  // Makes a compaction that copies, if one runs, end with that error.
  void GiveUpCopying(const absl::Status& why);
  CompactionProgress progress() const;
  absl::Status WaitForEnd();

 private:
  absl::Status CheckLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void Stop(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits until `condition` holds, or until `deadline`; returns whether it
  // does.
  absl::StatusOr<bool> WaitUntil(const std::function<bool()>& condition,
                                 absl::Time deadline);

  // Of the thread that compacts alone.
  std::function<bool()> has_room_;
  absl::Duration longest_pause_;
  mutable absl::Mutex mu_;
  CompactionProgress progress_ ABSL_GUARDED_BY(mu_);
  absl::Time started_ ABSL_GUARDED_BY(mu_);
  uint64_t bytes_per_second_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_look_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time deadline_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status reason_ ABSL_GUARDED_BY(mu_);  // for that
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTION_MONITOR_H_
