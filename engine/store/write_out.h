// WriteOut: a thread that has the host begin early to write what is appended,
// so that a caller that syncs something small does not wait for all that others
// have written.
//
// It tells the host of one step after the other, never waits for the disk, and
// lets callers that sync go first: they wait for everything that is on its way
// to the disk, and what is begun meanwhile would be added to that. There is no
// thread before there is something for it to do. A system that has none to give
// goes without.
//
// Thread-safe, but for NoteEnd(), Restart() and Stop().

#ifndef VARVE_ENGINE_STORE_WRITE_OUT_H_
#define VARVE_ENGINE_STORE_WRITE_OUT_H_

#include <cstdint>
#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace varve {

class WriteOut {
 public:
  // Less is left to callers that sync.
  static constexpr uint64_t kStep = uint64_t{4} << 20;

  // Begins to write a range out, as File::BeginWriteOut(). Called by the
  // thread, with no lock held.
  using Begin = std::function<absl::Status(uint64_t offset, uint64_t length)>;

  explicit WriteOut(Begin begin) : begin_(std::move(begin)) {}
  ~WriteOut() { Stop(); }
  WriteOut(const WriteOut&) = delete;
  WriteOut& operator=(const WriteOut&) = delete;

  // Says that the file has been written up to `end`, which is less than before
  // after something was cut off. For the writer.
  void NoteEnd(uint64_t end) {
    if (end - told_ >= kStep) NoteStep(end);  // or it is less
  }
  // The file is another one, durable up to `end`. For the writer.
  void Restart(uint64_t end) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends the thread, for good. The writer must have ended.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // Nothing is begun from the time that this returns until EndSync(). Returns
  // the first failure since the beginning or Restart(): bytes have been lost
  // then, whatever the sync itself will say. One sync at a time.
  absl::Status BeginSync() ABSL_LOCKS_EXCLUDED(mutex_);
  // `durable` is the end of what need not be written any more.
  void EndSync(uint64_t durable) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void NoteStep(uint64_t end) ABSL_LOCKS_EXCLUDED(mutex_);
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  bool MayRun() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stop_ || (!syncing_ && begun_ < wanted_);
  }
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !busy_; }

  const Begin begin_;
  uint64_t told_ = 0;   // of the writer: what `wanted_` was last made
  std::thread thread_;  // of the writer
  bool has_thread_ = false;

  absl::Mutex mutex_;                            // nothing is taken below it
  uint64_t wanted_ ABSL_GUARDED_BY(mutex_) = 0;  // up to where it is to begin
  uint64_t begun_ ABSL_GUARDED_BY(mutex_) = 0;   // up to where it has
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool syncing_ ABSL_GUARDED_BY(mutex_) = false;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;  // with a step
  uint64_t restarts_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve

#endif  // VARVE_ENGINE_STORE_WRITE_OUT_H_
