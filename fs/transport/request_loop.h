// RequestLoop: the threads that receive requests from a descriptor and serve
// them.
//
// Waking a sleeping thread takes longer than serving most requests. So this
// differs in three ways from a loop in which each thread waits by itself:
//
//  - At most one thread listens. The others are parked, and a request wakes
//    none of them. A thread that has served a request looks for the next one
//    itself, so that a single caller and the thread that serves it come to
//    share a processor.
//  - The listener polls for some tens of microseconds before it sleeps, as
//    long as that pays off: the loop keeps estimating how often a request comes
//    within that time. An idle loop uses no processor time.
//  - A parked thread is woken in three cases: when one thread has found so many
//    requests in a row that there must be several callers; when a request is
//    known to take long; and when a request turns out to take long. A parked
//    thread, the watchdog, notices the last case: it looks now and then while
//    there is work.
//
// Start(), Join() and the destructor are for the thread that made the loop.

#ifndef VARVE_FS_TRANSPORT_REQUEST_LOOP_H_
#define VARVE_FS_TRANSPORT_REQUEST_LOOP_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace varve::fs {

class RequestLoop {
 public:
  enum class Received { kRequest, kNothing, kEnd };

  // The work of one thread.
  class Worker {
   public:
    virtual ~Worker() = default;
    // Takes a request if there is one, without waiting. Returns kEnd if there
    // will never be another.
    virtual Received Receive() = 0;
    // Whether serving the received request is known to take long.
    virtual bool IsSlow() const = 0;
    // Serves the request that Receive() took.
    virtual void Serve() = 0;
  };

  struct Options {
    int threads = 1;
    // How long to poll before sleeping; zero means never to poll.
    absl::Duration poll = absl::ZeroDuration();
  };

  // `fd` must be readable when there are requests, and must outlive the loop.
  // Each thread calls `make_worker` once.
  RequestLoop(int fd, Options options,
              std::function<std::unique_ptr<Worker>()> make_worker);
  // Calls End() and Join().
  ~RequestLoop();
  RequestLoop(const RequestLoop&) = delete;
  RequestLoop& operator=(const RequestLoop&) = delete;

  void Start();
  // Makes the threads end after the requests in progress. Any thread may call
  // it.
  void End() ABSL_LOCKS_EXCLUDED(mu_);
  void Join();
  // A descriptor that is readable once the loop ends, because of End() or
  // because a worker received kEnd.
  int end_fd() const { return end_fd_; }

 private:
  void Work();
  // Waits for a request as the only listener, and returns the result.
  Received Listen(Worker& worker);
  Received Poll(Worker& worker);
  Received Sleep(Worker& worker);
  // Whether polling has paid off lately, or would have.
  bool PollingPays() const;
  // Notes that a request came after waiting this long.
  void NoteWait(absl::Duration wait);
  // Waits until there is something to do. Returns false at the end.
  bool Park() ABSL_LOCKS_EXCLUDED(mu_);
  // Waits as the watchdog for a moment or until work begins. Returns whether no
  // thread has received anything for a while.
  bool WatchForStall() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CallHelp() ABSL_LOCKS_EXCLUDED(mu_);
  void WakeWatchdog() ABSL_LOCKS_EXCLUDED(mu_);

  const int fd_;
  const Options options_;
  const std::function<std::unique_ptr<Worker>()> make_worker_;
  int end_fd_ = -1;
  int epoll_fd_ = -1;
  std::vector<std::thread> threads_;

  std::atomic<bool> ended_{false};
  std::atomic<bool> listening_{false};
  std::atomic<bool> listener_sleeps_{false};
  std::atomic<uint64_t> received_{0};
  // In how many of 1024 waits a request came within the polling time. Written
  // by the listener.
  std::atomic<uint32_t> hits_{512};
  // For the listener: how often in a row yielding took long, and when to poll
  // again after that.
  int shared_in_a_row_ = 0;
  std::chrono::steady_clock::time_point poll_again_;

  absl::Mutex mu_;
  absl::CondVar called_ ABSL_GUARDED_BY(mu_);
  absl::CondVar watchdog_called_ ABSL_GUARDED_BY(mu_);
  int parked_ ABSL_GUARDED_BY(mu_) = 0;  // includes the watchdog
  int wanted_ ABSL_GUARDED_BY(mu_) = 0;
  bool has_watchdog_ ABSL_GUARDED_BY(mu_) = false;
  std::atomic<bool> watchdog_sleeps_{false};
};

}  // namespace varve::fs

#endif  // VARVE_FS_TRANSPORT_REQUEST_LOOP_H_
