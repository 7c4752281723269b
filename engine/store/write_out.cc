#include "engine/store/write_out.h"

#include <algorithm>

#include "engine/base/start_thread.h"

namespace varve {
namespace {

// The last page is most likely to be written to again, and must not be on its
// way to the disk then: some hosts have the writer wait. Pages are no larger.
constexpr uint64_t kUnit = uint64_t{64} << 10;

}  // namespace

void WriteOut::NoteStep(uint64_t end) {
  told_ = end / kUnit * kUnit;
  {
    absl::MutexLock lock(&mutex_);
    wanted_ = told_;
    begun_ = std::min(begun_, wanted_);
    if (stop_ || begun_ == wanted_) return;
  }
  // What could not be started is tried again at the next step.
  if (!has_thread_) has_thread_ = StartThread(thread_, [this] { Run(); });
}

void WriteOut::Restart(uint64_t end) {
  told_ = end;
  absl::MutexLock lock(&mutex_);
  wanted_ = end;
  begun_ = end;
  ++restarts_;
  failure_ = absl::OkStatus();
}

void WriteOut::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status WriteOut::BeginSync() {
  absl::MutexLock lock(&mutex_);
  syncing_ = true;
  mutex_.Await(absl::Condition(this, &WriteOut::IsIdle));
  return failure_;
}

void WriteOut::EndSync(uint64_t durable) {
  absl::MutexLock lock(&mutex_);
  syncing_ = false;
  begun_ = std::max(begun_, std::min(durable, wanted_));
}

void WriteOut::Run() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(this, &WriteOut::MayRun));
    if (stop_) return;
    const uint64_t offset = begun_;
    const uint64_t length = std::min(wanted_ - begun_, kStep);
    const uint64_t restarts = restarts_;
    begun_ += length;
    busy_ = true;
    mutex_.Unlock();
    const absl::Status status = begin_(offset, length);
    mutex_.Lock();
    busy_ = false;
    if (absl::IsUnimplemented(status)) {
      stop_ = true;
    } else if (restarts == restarts_) {
      failure_.Update(status);
    }
  }
}

}  // namespace varve
