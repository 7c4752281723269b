// UringLoop: the threads that receive requests through io_uring and serve them.
//
// There are several threads for each processor, pinned to it, with an entry
// each. The kernel gives a request to a thread of the caller's processor. So
// waking that thread, and waking the caller by the answer, is a switch between
// threads on one processor that is awake. A thread that takes long delays no
// other request as long as its processor has another thread.
//
// A request for much of a file is usually the kernel reading ahead while the
// caller works on earlier bytes. Such a request is served on another processor.

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
    // Serves a request and answers it by Answer() before it returns. The answer
    // overwrites the data of the request. Called from any thread of the loop.
    std::function<void(absl::Span<char> request)> serve;
    // Called if a thread has to give up, from any thread of the loop.
    std::function<void(const absl::Status& status)> on_failure;
  };

  // Makes the threads and everything that they need. Does not register with the
  // kernel's FUSE yet. Returns the system's error if there is no memory or
  // io_uring is not permitted.
  static absl::StatusOr<std::unique_ptr<UringLoop>> Make(Options options);
  // Ends the threads after they have answered the requests in progress, and
  // joins them.
  ~UringLoop();
  UringLoop(const UringLoop&) = delete;
  UringLoop& operator=(const UringLoop&) = delete;

  // Begins to receive requests. The kernel must have agreed on the transport.
  void Start() ABSL_LOCKS_EXCLUDED(mu_);

  // Takes the answer (a fuse_out_header and its data) if it belongs to the
  // request that this thread is serving for a loop, and returns what writev(2)
  // to the connection would; see UringEntry::Answer(). Returns nothing for any
  // other answer.
  static std::optional<ssize_t> Answer(absl::Span<const struct iovec> pieces);

 private:
  explicit UringLoop(Options options);
  void Work(int processor);
  void ServeAll(UringEntry& entry, int processor);
  // Reports whether the thread has everything that it needs, and waits for
  // Start(). Returns false if the loop ends before that.
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
