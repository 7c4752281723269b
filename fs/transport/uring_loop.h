// UringLoop: the threads that receive requests through io_uring and serve them.
//
// Several threads for each processor, pinned to it, with an entry each: the
// kernel gives a request to one of those of the caller's processor, so that
// waking it, and waking the caller by the answer, is a change of threads on one
// processor that is awake. A thread that takes long holds up nobody as long as
// there is another of its processor.
//
// Where much of a file is asked for, the caller is likely to go on with what it
// has while more is being read ahead: that is served on another processor.

#ifndef VARVE_FS_TRANSPORT_URING_LOOP_H_
#define VARVE_FS_TRANSPORT_URING_LOOP_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "fs/transport/uring_entry.h"

namespace varve::fs {

class UringLoop {
 public:
  struct Options {
    int fuse_fd = -1;        // outlives the loop
    size_t max_payload = 0;  // as for UringEntry
    int threads_per_processor = 1;
    // Serves a request, and answers it by Answer() before it returns. Answers
    // take the place of the request's data. Called from any thread of the loop.
    std::function<void(absl::Span<char> request)> serve;
    // Told if a thread has to give up. Called from any thread of the loop.
    std::function<void(const absl::Status& status)> on_failure;
  };

  // Makes the threads and all that they need. The kernel's FUSE knows nothing
  // of them yet. The system's error if there is no memory, or io_uring is not
  // permitted.
  static absl::StatusOr<std::unique_ptr<UringLoop>> Make(Options options);
  // Ends and joins: requests in progress are answered.
  ~UringLoop();
  UringLoop(const UringLoop&) = delete;
  UringLoop& operator=(const UringLoop&) = delete;

  // Begins to receive. The kernel must have agreed on the transport.
  void Start() ABSL_LOCKS_EXCLUDED(mu_);

  // If the answer (a fuse_out_header and what belongs to it) is the one to the
  // request that this thread serves for a loop: takes it, and returns what
  // writev(2) to the connection would have; see UringEntry::Answer().
  static std::optional<ssize_t> Answer(absl::Span<const struct iovec> pieces);

 private:
  explicit UringLoop(Options options);
  void Work(int processor);
  void ServeAll(UringEntry& entry, int processor);
  // Says whether the thread has what it needs, and waits for Start(). False if
  // the loop ends before.
  bool AwaitStart(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  const Options options_;
  const int end_fd_;
  std::vector<std::thread> threads_;

  absl::Mutex mu_;
  int prepared_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mu_);  // the first failure to prepare
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TRANSPORT_URING_LOOP_H_
