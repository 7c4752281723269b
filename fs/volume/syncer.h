// Syncer: the thread of a volume for work that no caller requests. It syncs
// from time to time, checks whether a compaction is due, and makes room on a
// full disk. The volume provides the functions for this work; Syncer decides
// when to call them.
//
// Thread-safe, except Start() and Stop().

#ifndef VARVE_FS_VOLUME_SYNCER_H_
#define VARVE_FS_VOLUME_SYNCER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fs/base/wakeup.h"
#include "fs/compaction/compaction.h"

namespace varve::fs {

class Syncer {
 public:
  // When the store has grown by this much, the thread wakes up at once.
  static constexpr uint64_t kMuchGrowth = uint64_t{64} << 20;

  // The thread calls these functions, one at a time.
  struct Work {
    std::function<void()> begin;                  // once
    std::function<void()> sync;                   // at every interval
    std::function<PressureResponse()> make_room;  // under space pressure
    std::function<void()> look;  // whenever the thread wakes up
  };

  Syncer(absl::Duration interval, Work work)
      : interval_(interval), work_(std::move(work)) {}
  ~Syncer() { Stop(); }

  // Starts the thread. EAGAIN if the system cannot. Must be called at most
  // once.
  absl::Status Start();
  // Stops the thread, and waits until it has ended. Does nothing if it is not
  // running.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // Notes the present length of the store.
  void NoteLength(uint64_t length) ABSL_LOCKS_EXCLUDED(mu_);
  // Notes that the disk is full. May be called before Start(), and with any
  // lock held.
  void NoteSpacePressure() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  // Makes room if there is space pressure, unless the last attempt was too
  // recent.
  void MakeRoomIfDue() ABSL_LOCKS_EXCLUDED(mu_);

  const absl::Duration interval_;
  const Work work_;
  absl::Mutex mu_;  // only the wakeup's mutex is taken below it
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  bool under_pressure_ ABSL_GUARDED_BY(mu_) = false;
  // The length of the store at which the thread wakes up; 0 before the first
  // length is known.
  std::atomic<uint64_t> next_length_{0};
  Wakeup wakeup_;
  Wakeup::Clock::time_point next_room_;  // only for the thread
  std::thread thread_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_SYNCER_H_
