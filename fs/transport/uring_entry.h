// UringEntry: a place for one request of the kernel at a time, in the transport
// of FUSE over io_uring (Linux 6.14 and later), with a ring of its own.
//
// For each processor the kernel keeps a queue of such entries, and puts a
// request into one of the queue of the processor that its caller runs on. The
// request appears in memory of this process, the answer is left there, and one
// system call both hands it over and waits for the next request. The protocol
// is that of the kernel's linux/fuse.h, version 7.42, and
// Documentation/filesystems/fuse/fuse-io-uring.rst.
//
// For the thread that made it only.

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
    int end_fd = -1;   // once it is readable there are no more requests
    int queue = 0;     // the number of the processor
    // The most bytes of data that a request or an answer has, as agreed on with
    // the kernel.
    size_t max_payload = 0;
  };

  // Gets the memory and the ring, and does not tell the kernel's FUSE yet. The
  // system's error if there is no memory, or io_uring is not permitted.
  static absl::StatusOr<std::unique_ptr<UringEntry>> Make(
      const Options& options);
  ~UringEntry();
  UringEntry(const UringEntry&) = delete;
  UringEntry& operator=(const UringEntry&) = delete;

  // Hands over the answer to the last request (EIO if nobody gave one), if
  // there has been one, and waits for the next. False if there is none any
  // more. The system's error if the kernel refuses: there will be none, either.
  absl::StatusOr<bool> Next();

  // The request, as read(2) from the connection would have given it; the bytes
  // may be changed. Valid until Next().
  absl::Span<char> request() const { return request_; }
  // How many bytes of a file it asks for; 0 if it is no READ.
  uint32_t read_size() const;

  // Takes the answer, which begins with a fuse_out_header, if it is the one
  // that is awaited. Returns its length, or -1 with errno as from writev(2) to
  // the connection: EFAULT if bytes of the store are lost (see bus_guard.h),
  // and then the caller is answered with EIO.
  bool Awaits(uint64_t unique) const { return unique == awaited_; }
  ssize_t Answer(absl::Span<const struct iovec> pieces);

 private:
  struct Shared;  // memory that the kernel knows

  explicit UringEntry(const Options& options) : options_(options) {}
  absl::Status Allocate();
  // An empty place in the ring. Null if there is none, which cannot be, as no
  // more than two are ever under way.
  struct io_uring_sqe* NewSubmission();
  // Puts a command for the kernel's FUSE into the ring, or the wish to be told
  // of the end.
  absl::Status SubmitCommand(uint32_t command, uint64_t commit_id);
  absl::Status SubmitWatch();
  // Takes what has come out of the ring.
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
