// Wakeup: lets a thread sleep until a time, or until somebody wakes it.

#ifndef VARVE_FS_BASE_WAKEUP_H_
#define VARVE_FS_BASE_WAKEUP_H_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace varve::fs {

// Thread-safe. It goes by a clock that nobody sets. Waits of absl::Mutex go by
// the time of day: once that is set back they last too long.
class Wakeup {
 public:
  using Clock = std::chrono::steady_clock;

  // The moment that is so far behind `begin`, or now; a century at the most.
  static Clock::time_point Later(Clock::time_point begin,
                                 absl::Duration delay) {
    return begin +
           absl::ToChronoNanoseconds(std::min(delay, absl::Hours(24 * 36500)));
  }
  static Clock::time_point After(absl::Duration delay) {
    return Later(Clock::now(), delay);
  }

  // Ends the wait that is going on, or else the next one.
  void Wake() {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      woken_ = true;
    }
    changed_.notify_one();
  }

  // For one thread.
  void WaitUntil(Clock::time_point deadline) {
    std::unique_lock<std::mutex> lock(mu_);
    changed_.wait_until(lock, deadline, [this] { return woken_; });
    woken_ = false;
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  bool woken_ = false;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_WAKEUP_H_
