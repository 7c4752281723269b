#include "fs/transport/request_loop.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/barrier.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using Received = RequestLoop::Received;

struct Request {
  std::function<void()> serve;
  bool is_slow = false;
};

// What the kernel's descriptor is to the real loop.
class RequestQueue {
 public:
  RequestQueue() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~RequestQueue() { close(fd_); }
  RequestQueue(const RequestQueue&) = delete;
  RequestQueue& operator=(const RequestQueue&) = delete;

  int fd() const { return fd_; }

  void Push(Request request) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    requests_.push_back(std::move(request));
    MarkReadable();
  }

  // The same, but whoever waits for the descriptor is not told.
  void PushQuietly(Request request) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    quiet_ = std::move(request);
  }

  // All threads that have looked for a request.
  std::set<pthread_t> threads() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    return threads_;
  }

  // What is there is still served.
  void Close() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    closed_ = true;
    MarkReadable();
  }

  Received Pop(Request& request) ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    threads_.insert(pthread_self());
    if (quiet_.has_value()) {
      request = *std::exchange(quiet_, std::nullopt);
      return Received::kRequest;
    }
    if (requests_.empty()) return closed_ ? Received::kEnd : Received::kNothing;
    request = std::move(requests_.front());
    requests_.pop_front();
    uint64_t count;
    if (requests_.empty() && !closed_) {
      EXPECT_EQ(read(fd_, &count, sizeof(count)), sizeof(count));
    }
    return Received::kRequest;
  }

 private:
  void MarkReadable() {
    const uint64_t one = 1;
    EXPECT_EQ(write(fd_, &one, sizeof(one)), sizeof(one));
  }

  const int fd_;
  absl::Mutex mu_;
  std::deque<Request> requests_ ABSL_GUARDED_BY(mu_);
  std::optional<Request> quiet_ ABSL_GUARDED_BY(mu_);
  std::set<pthread_t> threads_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

class QueueWorker final : public RequestLoop::Worker {
 public:
  explicit QueueWorker(RequestQueue& queue) : queue_(queue) {}
  Received Receive() override { return queue_.Pop(request_); }
  bool IsSlow() const override { return request_.is_slow; }
  void Serve() override { request_.serve(); }

 private:
  RequestQueue& queue_;
  Request request_;
};

class RequestLoopTest : public testing::TestWithParam<absl::Duration> {
 protected:
  std::unique_ptr<RequestLoop> Start(int threads) {
    auto loop = std::make_unique<RequestLoop>(
        queue_.fd(),
        RequestLoop::Options{.threads = threads, .poll = GetParam()},
        [this] { return std::make_unique<QueueWorker>(queue_); });
    loop->Start();
    return loop;
  }

  void AskAndWait() {
    absl::Notification answered;
    queue_.Push({.serve = [&answered] { answered.Notify(); }});
    answered.WaitForNotification();
  }

  RequestQueue queue_;
};

INSTANTIATE_TEST_SUITE_P(Polling, RequestLoopTest,
                         testing::Values(absl::ZeroDuration(),
                                         absl::Microseconds(50),
                                         absl::Milliseconds(20)));

TEST_P(RequestLoopTest, ServesEveryRequestOnce) {
  constexpr int kRequests = 20'000;
  std::atomic<int> served{0};
  const auto loop = Start(4);
  for (int i = 0; i < kRequests; ++i) {
    queue_.Push({.serve = [&served] { ++served; }, .is_slow = i % 100 == 0});
  }
  queue_.Close();
  loop->Join();
  EXPECT_EQ(served.load(), kRequests);
}

TEST_P(RequestLoopTest, OneThreadIsEnough) {
  constexpr int kRequests = 1000;
  absl::BlockingCounter served(kRequests);
  const auto loop = Start(1);
  for (int i = 0; i < kRequests; ++i) {
    queue_.Push({.serve = [&served] { served.DecrementCount(); },
                 .is_slow = i % 10 == 0});
  }
  served.Wait();
}

TEST_P(RequestLoopTest, ACallerThatWaitsForEachAnswerGetsAll) {
  const auto loop = Start(4);
  for (int i = 0; i < 2000; ++i) AskAndWait();
}

// All threads get into a request at once, although none of these ends before
// the last one has begun, and nothing says that they take long.
TEST_P(RequestLoopTest, RequestsThatTakeLongHoldUpNobody) {
  constexpr int kThreads = 6;
  const auto loop = Start(kThreads);
  for (int round = 0; round < 20; ++round) {
    auto* const all_begun = new absl::Barrier(kThreads);
    absl::BlockingCounter ended(kThreads);
    for (int i = 0; i < kThreads; ++i) {
      queue_.Push({.serve =
                       [&ended, all_begun] {
                         // True for the one that may delete it.
                         if (all_begun->Block()) delete all_begun;
                         ended.DecrementCount();
                       },
                   .is_slow = round % 3 == 1});
    }
    ended.Wait();
  }
}

// The same when each comes long after the one before.
TEST_P(RequestLoopTest, ARequestThatNeverEndsHoldsUpNobody) {
  absl::Notification release;
  absl::Notification stuck;
  const auto loop = Start(2);  // ends before what its requests wait for
  queue_.Push({.serve = [&] {
    stuck.Notify();
    release.WaitForNotification();
  }});
  stuck.WaitForNotification();
  for (int i = 0; i < 100; ++i) AskAndWait();
  release.Notify();
}

TEST_P(RequestLoopTest, EndsWhileNothingHappens) {
  const auto loop = Start(4);
  loop->End();
  loop->Join();
}

absl::Duration ProcessorTime() {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

// Waits until the loop takes no processor time. It settles within a quarter of
// a second; sanitizers and a busy machine may take longer. Returns what it took
// in the last half of a second.
absl::Duration WaitUntilIdle() {
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  absl::Duration used;
  do {
    const absl::Duration begin = ProcessorTime();
    // sleep: idle time is what is measured.
    absl::SleepFor(absl::Milliseconds(500));
    used = ProcessorTime() - begin;
  } while (used > absl::Milliseconds(1) && absl::Now() < deadline);
  return used;
}

// A signal ends the sleep of the listener, and what it finds then is stuck. The
// watchdog, who slept as well, must have been woken.
TEST_P(RequestLoopTest, ARequestThatNeverEndsAfterASignalHoldsUpNobody) {
  struct sigaction nothing = {};
  nothing.sa_handler = [](int) {};
  struct sigaction before;
  ASSERT_EQ(sigaction(SIGUSR1, &nothing, &before), 0);
  absl::Notification release;
  absl::Notification stuck;
  absl::Notification answered;
  const auto loop = Start(2);
  WaitUntilIdle();
  queue_.PushQuietly({.serve = [&] {
    stuck.Notify();
    release.WaitForNotification();
  }});
  for (const pthread_t thread : queue_.threads()) {
    EXPECT_EQ(pthread_kill(thread, SIGUSR1), 0);
  }
  stuck.WaitForNotification();
  queue_.Push({.serve = [&answered] { answered.Notify(); }});
  EXPECT_TRUE(answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
  release.Notify();
  answered.WaitForNotification();
  sigaction(SIGUSR1, &before, nullptr);
}

TEST_P(RequestLoopTest, TakesNoProcessorTimeWhenIdle) {
  const auto loop = Start(4);
  // Requests that follow each other quickly, so that it polls.
  for (int i = 0; i < 2000; ++i) AskAndWait();
  EXPECT_LE(WaitUntilIdle(), absl::Milliseconds(1));
}

}  // namespace
}  // namespace varve::fs
