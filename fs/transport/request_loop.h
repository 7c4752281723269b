// RequestLoop: the threads that receive requests from a descriptor and serve
// them.
//
// Waking a sleeping thread takes longer than serving most requests does, so
// three things differ from a loop in which every thread waits for itself:
//
//  - At most one thread listens, the others are parked, and a request wakes
//    none of them. A thread that has served one looks for the next by itself: a
//    single caller and the thread that serves it come to share a processor.
//  - The listener polls for some tens of microseconds before it sleeps, as
//    long as that pays: how often a request came within that time is estimated
//    all along. An idle loop uses no processor time.
//  - A parked thread is called when one thread has found so many requests in a
//    row that there must be several callers, when a request is known to take
//    long, and, by one of them that looks now and then while there is work
//    (the watchdog), when a request turns out to take long.

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

  // What one thread works with.
  class Worker {
   public:
    virtual ~Worker() = default;
    // Takes a request if there is one, without waiting. kEnd if there will
    // never be another.
    virtual Received Receive() = 0;
    // Whether serving the request is known to take long.
    virtual bool IsSlow() const = 0;
    // Serves the request that Receive() took.
    virtual void Serve() = 0;
  };

  struct Options {
    int threads = 1;
    // How long to poll before sleeping; zero for never.
    absl::Duration poll = absl::ZeroDuration();
  };

  // `fd` is readable when there are requests; it must outlive the loop.
  // `make_worker` is called once by each thread.
  RequestLoop(int fd, Options options,
              std::function<std::unique_ptr<Worker>()> make_worker);
  // Ends and joins.
  ~RequestLoop();
  RequestLoop(const RequestLoop&) = delete;
  RequestLoop& operator=(const RequestLoop&) = delete;

  void Start();
  // Lets the threads end after the requests in progress. For any thread.
  void End() ABSL_LOCKS_EXCLUDED(mu_);
  void Join();
  // Is readable once the loop ends, by End() or because a worker said so.
  int end_fd() const { return end_fd_; }

 private:
  void Work();
  // As the only one: waits for a request, and returns what came of it.
  Received Listen(Worker& worker);
  Received Poll(Worker& worker);
  Received Sleep(Worker& worker);
  // Whether polling has paid, or would have, lately.
  bool PollingPays() const;
  // Notes that a request came after so long.
  void NoteWait(absl::Duration wait);
  // Waits until there is something to do. False at the end.
  bool Park() ABSL_LOCKS_EXCLUDED(mu_);
  // Waits as the watchdog for a moment, or until work begins; returns whether
  // nobody has come to receive anything for a while.
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
  // Of 1024: how often a request came within the time of polling. Written by
  // the listener.
  std::atomic<uint32_t> hits_{512};
  // For the listener: how often in a row giving way took long, and before when
  // there is no polling because of that.
  int shared_in_a_row_ = 0;
  std::chrono::steady_clock::time_point poll_again_;

  absl::Mutex mu_;
  absl::CondVar called_ ABSL_GUARDED_BY(mu_);
  absl::CondVar watchdog_called_ ABSL_GUARDED_BY(mu_);
  int parked_ ABSL_GUARDED_BY(mu_) = 0;  // the watchdog is one of them
  int wanted_ ABSL_GUARDED_BY(mu_) = 0;
  bool has_watchdog_ ABSL_GUARDED_BY(mu_) = false;
  std::atomic<bool> watchdog_sleeps_{false};
};

}  // namespace varve::fs

#endif  // VARVE_FS_TRANSPORT_REQUEST_LOOP_H_
