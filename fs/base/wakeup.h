// Wakeup: lets a thread sleep until a deadline or until another thread wakes
// it.

#ifndef VARVE_FS_BASE_WAKEUP_H_
#define VARVE_FS_BASE_WAKEUP_H_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace varve::fs {

// Thread-safe. It uses the monotonic clock. The waits of absl::Mutex use the
// time of day, so they last too long if that is set back.
class Wakeup {
 public:
  using Clock = std::chrono::steady_clock;

  // The moment `delay` after `begin`, or after now; at most a century later.
  static Clock::time_point Later(Clock::time_point begin,
                                 absl::Duration delay) {
    return begin +
           absl::ToChronoNanoseconds(std::min(delay, absl::Hours(24 * 36500)));
  }
  static Clock::time_point After(absl::Duration delay) {
    return Later(Clock::now(), delay);
  }

  // Ends the current wait or, if no thread waits, the next one.
  void Wake() {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      woken_ = true;
    }
    changed_.notify_one();
  }

  // Returns at `deadline` or after a Wake(). For one thread at a time.
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
