// UringEntry: a slot for one request of the kernel at a time, in the transport
// of FUSE over io_uring (Linux 6.14 and later). Each entry has a ring of its
// own.
//
// The kernel keeps a queue of such entries for each processor, and puts a
// request into an entry of the queue of the processor on which its caller runs.
// The request appears in memory of this process, and the process leaves the
// answer there. One system call hands over the answer and waits for the next
// request. The protocol is described in the kernel's linux/fuse.h, version
// 7.42, and in Documentation/filesystems/fuse/fuse-io-uring.rst.
//
// Only the thread that made an entry may use it.

#ifndef VARVE_FS_TRANSPORT_URING_ENTRY_H_
#define VARVE_FS_TRANSPORT_URING_ENTRY_H_

#include <liburing.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace varve::fs {

class UringEntry {
 public:
  struct Options {
    int fuse_fd = -1;  // the kernel's connection; outlives the entry
    int end_fd = -1;   // readable once there will be no more requests
    int queue = 0;     // the number of the processor
    // The most bytes of data that a request or an answer may have, as agreed on
    // with the kernel.
    size_t max_payload = 0;
  };

  // Allocates the memory and the ring. Does not register with the kernel's FUSE
  // yet. Returns the system's error if there is no memory or io_uring is not
  // permitted.
  static absl::StatusOr<std::unique_ptr<UringEntry>> Make(
      const Options& options);
  ~UringEntry();
  UringEntry(const UringEntry&) = delete;
  UringEntry& operator=(const UringEntry&) = delete;

  // Hands over the answer to the last request, if there was a request (EIO if
  // there is no answer), and waits for the next one. Returns false at the end.
  // Returns the system's error if the kernel refuses; there will be no more
  // requests then, either.
  absl::StatusOr<bool> Next();

  // The request in the form in which read(2) from the connection would have
  // returned it. The caller may change the bytes. Valid until Next().
  absl::Span<char> request() const { return request_; }
  // The number of bytes of a file that the request asks for; 0 if it is not a
  // READ.
  uint32_t read_size() const;

  // Awaits() says whether the answer to the request `unique` is outstanding
  // here. Answer() takes that answer, which begins with a fuse_out_header. It
  // returns the length of the answer, or -1 with errno as writev(2) to the
  // connection would: EFAULT if bytes of the store are lost (see bus_guard.h).
  // The caller of the mount then gets EIO.
  bool Awaits(uint64_t unique) const { return unique == awaited_; }
  ssize_t Answer(absl::Span<const struct iovec> pieces);

 private:
  struct Shared;  // memory that is registered with the kernel

  explicit UringEntry(const Options& options) : options_(options) {}
  absl::Status Allocate();
  // An empty slot in the ring. Null if there is none, which cannot happen,
  // because at most two submissions are under way.
  struct io_uring_sqe* NewSubmission();
  // Put a command for the kernel's FUSE into the ring, or a watch for the end.
  absl::Status SubmitCommand(uint32_t command, uint64_t commit_id);
  absl::Status SubmitWatch();
  // Takes all completions out of the ring.
  absl::Status TakeCompletions();
  absl::Status TakeRequest();
  void AnswerError(int error);

  const Options options_;
  struct io_uring ring_ = {};
  bool has_ring_ = false;
  Shared* shared_ = nullptr;
  char* payload_ = nullptr;  // in the same mapping
  struct iovec registered_[2] = {};
  bool is_registered_ = false;
  bool has_request_ = false;
  bool ended_ = false;
  absl::Span<char> request_;
  uint64_t commit_id_ = 0;
  uint64_t awaited_ = 0;  // the unique number of the request; 0 once answered
};

}  // namespace varve::fs

#endif  // VARVE_FS_TRANSPORT_URING_ENTRY_H_
