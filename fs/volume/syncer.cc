#include "fs/volume/syncer.h"

#include <errno.h>

#include <algorithm>

#include "engine/base/start_thread.h"
#include "engine/base/status.h"

namespace varve::fs {

absl::Status Syncer::Start() {
  if (StartThread(thread_, [this] { Run(); })) return absl::OkStatus();
  return SystemError(EAGAIN, "cannot start the thread that syncs");
}

void Syncer::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  wakeup_.Wake();
  thread_.join();
}

void Syncer::NoteLength(uint64_t length) {
  if (length < next_length_.load(std::memory_order_relaxed)) return;
  absl::MutexLock lock(&mu_);
  if (next_length_.load() > 0) wakeup_.Wake();
  next_length_.store(length + kMuchGrowth);
}

void Syncer::NoteSpacePressure() {
  absl::MutexLock lock(&mu_);
  if (under_pressure_) return;
  under_pressure_ = true;
  wakeup_.Wake();
}

void Syncer::MakeRoomIfDue() {
  const Wakeup::Clock::time_point now = Wakeup::Clock::now();
  {
    absl::MutexLock lock(&mu_);
    if (!under_pressure_ || now < next_room_) return;
    under_pressure_ = false;
  }
  const PressureResponse response = work_.make_room();
  next_room_ = Wakeup::Later(now, response.pause);
  if (!response.again) return;
  absl::MutexLock lock(&mu_);
  under_pressure_ = true;
}

void Syncer::Run() {
  work_.begin();
  Wakeup::Clock::time_point next_sync = Wakeup::After(interval_);
  Wakeup::Clock::time_point next_wakeup = next_sync;
  while (true) {
    wakeup_.WaitUntil(next_wakeup);
    {
      absl::MutexLock lock(&mu_);
      if (stop_) return;
    }
    if (Wakeup::Clock::now() >= next_sync) {
      work_.sync();
      next_sync = Wakeup::After(interval_);
    }
    MakeRoomIfDue();
    work_.look();
    absl::MutexLock lock(&mu_);
    next_wakeup = under_pressure_ ? std::min(next_sync, next_room_) : next_sync;
  }
}

}  // namespace varve::fs
