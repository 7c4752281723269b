#include "fs/transport/request_loop.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <utility>

namespace varve::fs {
namespace {

// After so many requests in a row without a pause, there are probably more
// callers than one thread can serve.
constexpr int kBacklog = 8;
// How often the watchdog looks while there is work, and after how many looks
// without work it goes to sleep.
constexpr absl::Duration kWatchdogLooks = absl::Milliseconds(2);
constexpr int kIdleLooks = 50;
// Polling continues while at least so many of 1024 waits would end in time.
constexpr uint32_t kWorthPolling = 300;
constexpr uint32_t kAll = 1024;

// Microseconds matter here, so this avoids absl::Now(), which does extra work
// for the time of day.
using Clock = std::chrono::steady_clock;

// If yielding takes longer than this twice in a row, the thread shares its
// processor with a program that computes. (A single time may come from the
// hypervisor or a long interrupt.) A polling thread must then wait for its turn
// each time, but the scheduler runs a thread that was asleep at once. So there
// is no polling for a while.
constexpr auto kShared = std::chrono::milliseconds(1);
constexpr int kSharedInARow = 2;
constexpr auto kPause = std::chrono::milliseconds(250);

}  // namespace

RequestLoop::RequestLoop(int fd, Options options,
                         std::function<std::unique_ptr<Worker>()> make_worker)
    : fd_(fd),
      options_(options),
      make_worker_(std::move(make_worker)),
      end_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)) {
  for (const int watched : {fd_, end_fd_}) {
    struct epoll_event event = {};
    event.events = EPOLLIN;
    event.data.fd = watched;
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, watched, &event) != 0) {
      ended_.store(true);
    }
  }
}

RequestLoop::~RequestLoop() {
  End();
  Join();
  if (epoll_fd_ >= 0) close(epoll_fd_);
  if (end_fd_ >= 0) close(end_fd_);
}

void RequestLoop::Start() {
  for (int i = 0; i < options_.threads; ++i) {
    threads_.emplace_back([this] { Work(); });
  }
}

void RequestLoop::Join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void RequestLoop::End() {
  ended_.store(true);
  const uint64_t one = 1;
  // Fails only if the counter is at its maximum, and then the descriptor is
  // readable.
  [[maybe_unused]] const ssize_t written = write(end_fd_, &one, sizeof(one));
  absl::MutexLock lock(&mu_);
  called_.SignalAll();
  watchdog_called_.SignalAll();
}

void RequestLoop::Work() {
  const std::unique_ptr<Worker> worker = make_worker_();
  int in_a_row = 0;
  while (!ended_.load(std::memory_order_relaxed)) {
    Received received = worker->Receive();
    if (received == Received::kNothing) {
      in_a_row = 0;
      if (listening_.exchange(true)) {
        if (!Park()) return;
        continue;
      }
      received = Listen(*worker);
      listening_.store(false);
    }
    if (received == Received::kEnd) return End();
    if (received == Received::kNothing) continue;
    received_.fetch_add(1, std::memory_order_relaxed);
    if (++in_a_row == kBacklog || worker->IsSlow()) {
      in_a_row = 0;
      CallHelp();
    }
    worker->Serve();
  }
}

RequestLoop::Received RequestLoop::Listen(Worker& worker) {
  if (options_.poll == absl::ZeroDuration()) return Sleep(worker);
  const Clock::time_point begin = Clock::now();
  Received received = Received::kNothing;
  if (PollingPays() && begin >= poll_again_) received = Poll(worker);
  if (received == Received::kNothing) received = Sleep(worker);
  NoteWait(absl::FromChrono(Clock::now() - begin));
  return received;
}

bool RequestLoop::PollingPays() const {
  return hits_.load(std::memory_order_relaxed) >= kWorthPolling;
}

void RequestLoop::NoteWait(absl::Duration wait) {
  const uint32_t hits = hits_.load(std::memory_order_relaxed);
  hits_.store(hits - hits / 8 + (wait < options_.poll ? kAll / 8 : 0),
              std::memory_order_relaxed);
}

RequestLoop::Received RequestLoop::Poll(Worker& worker) {
  Clock::time_point now = Clock::now();
  const Clock::time_point end = now + absl::ToChronoNanoseconds(options_.poll);
  do {
    const Received received = worker.Receive();
    if (received != Received::kNothing) return received;
    // Let other threads that want this processor run.
    sched_yield();
    const Clock::time_point before = now;
    now = Clock::now();
    if (now - before < kShared) {
      shared_in_a_row_ = 0;
    } else if (++shared_in_a_row_ == kSharedInARow) {
      shared_in_a_row_ = 0;
      poll_again_ = now + kPause;
    }
  } while (now < end && !ended_.load(std::memory_order_relaxed));
  return Received::kNothing;
}

RequestLoop::Received RequestLoop::Sleep(Worker& worker) {
  listener_sleeps_.store(true);
  struct epoll_event ready = {};
  const int count = epoll_wait(epoll_fd_, &ready, 1, -1);
  const bool interrupted = count < 0 && errno == EINTR;
  listener_sleeps_.store(false);
  if ((count < 0 && !interrupted) || ready.data.fd == end_fd_) {
    return Received::kEnd;
  }
  if (watchdog_sleeps_.load()) WakeWatchdog();
  if (interrupted) return Received::kNothing;
  return worker.Receive();
}

bool RequestLoop::Park() {
  absl::MutexLock lock(&mu_);
  ++parked_;
  bool is_watchdog = false;
  while (!ended_.load() && wanted_ == 0) {
    if (!has_watchdog_) has_watchdog_ = is_watchdog = true;
    if (!is_watchdog) {
      called_.Wait(&mu_);
    } else if (WatchForStall()) {
      ++wanted_;
    }
  }
  --parked_;
  if (wanted_ > 0) --wanted_;
  if (is_watchdog) {
    has_watchdog_ = false;
    called_.Signal();  // another thread takes its place
  }
  return !ended_.load();
}

bool RequestLoop::WatchForStall() {
  uint64_t seen = received_.load(std::memory_order_relaxed);
  for (int idle = 0; !ended_.load() && wanted_ == 0;) {
    if (idle < kIdleLooks) {
      watchdog_called_.WaitWithTimeout(&mu_, kWatchdogLooks);
    } else {
      watchdog_sleeps_.store(true);
      // A thread that wakes after this sees that the watchdog sleeps. A thread
      // that woke before is seen here.
      if (listener_sleeps_.load()) watchdog_called_.Wait(&mu_);
      watchdog_sleeps_.store(false);
      idle = 0;
    }
    const uint64_t now = received_.load(std::memory_order_relaxed);
    if (now != seen) {
      idle = 0;
    } else if (listening_.load()) {
      idle = listener_sleeps_.load() ? idle + 1 : 0;
    } else {
      return true;
    }
    seen = now;
  }
  return false;
}

void RequestLoop::CallHelp() {
  absl::MutexLock lock(&mu_);
  if (parked_ <= wanted_) return;
  ++wanted_;
  // Rather call another thread than the watchdog.
  (parked_ > 1 ? called_ : watchdog_called_).Signal();
}

void RequestLoop::WakeWatchdog() {
  absl::MutexLock lock(&mu_);
  watchdog_called_.Signal();
}

}  // namespace varve::fs
