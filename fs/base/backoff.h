// Backoff: how long to wait before trying again something that has failed. Each
// failure in a row doubles the pause; a success ends it.
//
// Not thread-safe.

#ifndef VARVE_FS_BASE_BACKOFF_H_
#define VARVE_FS_BASE_BACKOFF_H_

#include <algorithm>

#include "absl/time/time.h"
#include "fs/base/wakeup.h"

namespace varve::fs {

class Backoff {
 public:
  using TimePoint = Wakeup::Clock::time_point;

  // The pause after the first failure, and the longest one.
  Backoff(absl::Duration least, absl::Duration most)
      : least_(least), most_(std::max(least, most)) {}

  bool MayTry(TimePoint now) const { return now >= next_; }

  // Notes the result of an attempt that ended at `now`.
  void NoteResult(bool ok, TimePoint now) {
    pause_ = ok ? absl::ZeroDuration() : std::clamp(2 * pause_, least_, most_);
    next_ = Wakeup::Later(now, pause_);
  }

 private:
  const absl::Duration least_;
  const absl::Duration most_;
  absl::Duration pause_;
  TimePoint next_ = TimePoint::min();
};

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_BACKOFF_H_
