// CompactionMonitor: what a running compaction tells of itself, and is told.
//
// Thread-safe.

#ifndef VARVE_FS_COMPACTION_MONITOR_H_
#define VARVE_FS_COMPACTION_MONITOR_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fs/compaction.h"

namespace varve::fs {

class CompactionMonitor {
 public:
  // --- For the one who compacts ---

  void Begin(const CompactionOptions& options);
  void End(const absl::Status& result, uint64_t bytes_won);
  void SetPhase(CompactionPhase phase);
  void SetTotals(uint64_t bytes, uint64_t files);
  void NoteStall(absl::Duration stall);
  void CountFile();
  // Called now and then while bytes are counted; copying pauses until it
  // returns true. To be set before anything is counted.
  void PauseUnless(std::function<bool()> has_room) {
    has_room_ = std::move(has_room);
  }
  // Says that so many bytes have been copied, and waits as the rate limit
  // demands. CANCELLED if the compaction is to end.
  absl::Status Count(uint64_t bytes);
  // Waits until `condition` holds, looking every second. CANCELLED as above.
  absl::Status WaitUntil(const std::function<bool()>& condition);
  absl::Status Check() const;  // whether to go on

  // --- For everybody ---

  void Cancel();
  CompactionProgress progress() const;
  absl::Status WaitForEnd();

 private:
  absl::Status CheckLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  std::function<bool()> has_room_;  // of the one who compacts alone
  mutable absl::Mutex mu_;
  CompactionProgress progress_ ABSL_GUARDED_BY(mu_);
  absl::Time started_ ABSL_GUARDED_BY(mu_);
  uint64_t bytes_per_second_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_look_ ABSL_GUARDED_BY(mu_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_MONITOR_H_
