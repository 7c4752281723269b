// Syncer: the thread of a volume for what nobody asks for. It syncs from time
// to time, looks whether a compaction is due, and makes room on a full disk.
// What that means is the volume's to say; when it is done is decided here.
//
// Thread-safe, but for Start() and Stop().

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
  // When the store has grown by so much, the thread looks at it at once.
  static constexpr uint64_t kMuchGrowth = uint64_t{64} << 20;

  // All of it is called by the thread, one after the other.
  struct Work {
    std::function<void()> begin;                // once
    std::function<void()> sync;                 // at every interval
    std::function<PressureRelief()> make_room;  // under space pressure
    std::function<void()> look;                 // whenever the thread wakes up
  };

  Syncer(absl::Duration interval, Work work)
      : interval_(interval), work_(std::move(work)) {}
  ~Syncer() { Stop(); }

  // EAGAIN if the system has no thread for it. At most once.
  absl::Status Start();
  // Waits until the work in progress has ended. Without effect if nothing runs.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // Says how long the store is now.
  void NoteLength(uint64_t length) ABSL_LOCKS_EXCLUDED(mu_);
  // Says that the disk is full. May be called before Start(), and under any
  // lock.
  void NoteSpacePressure() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  // If there is space pressure and it is time, makes room.
  void MakeRoomIfDue() ABSL_LOCKS_EXCLUDED(mu_);

  const absl::Duration interval_;
  const Work work_;
  absl::Mutex mu_;  // nothing is taken below it but the wakeup's
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  bool under_pressure_ ABSL_GUARDED_BY(mu_) = false;
  // The length of the store at which the thread is to be woken; none before
  // the first length is known.
  std::atomic<uint64_t> next_length_{0};
  Wakeup wakeup_;
  Wakeup::Clock::time_point next_room_;  // of the thread
  std::thread thread_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_SYNCER_H_
