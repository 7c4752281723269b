#include "fs/transport/uring_entry.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mman.h>

#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/io/bus_guard.h"

namespace varve::fs {
namespace {

// From the kernel's fuse.h, version 7.42, which Debian 12 does not have.
constexpr uint32_t kRegister = 1;
constexpr uint32_t kCommitAndFetch = 2;
constexpr size_t kHeaderSize = 128;

struct EntryInOut {
  uint64_t flags;
  uint64_t commit_id;
  uint32_t payload_size;
  uint32_t padding;
  uint64_t reserved;
};

struct Headers {
  char in_out[kHeaderSize];  // fuse_in_header, then fuse_out_header
  char operation[kHeaderSize];
  EntryInOut entry;
};
static_assert(sizeof(Headers) == 288);

struct Command {
  uint64_t flags;
  uint64_t commit_id;
  uint16_t queue;
  uint8_t padding[6];
};
static_assert(sizeof(Command) == 24);

// Tells which submission has completed.
constexpr uint64_t kEnd = 0;
constexpr uint64_t kRequest = 1;

// The ring has entries of twice the usual size, which can hold a Command. Only
// this thread submits, and the kernel does its work for the ring when this
// thread waits.
constexpr unsigned kRingFlags = IORING_SETUP_SQE128 |
                                IORING_SETUP_SINGLE_ISSUER |
                                IORING_SETUP_DEFER_TASKRUN;
constexpr unsigned kRingEntries = 2;

// Whether the connection or this ring has ended.
bool IsEnd(int error) {
  return error == ENOTCONN || error == ECONNABORTED || error == ECANCELED;
}

bool IsTransient(int error) {
  return error == EINTR || error == EAGAIN || error == EBUSY;
}

}  // namespace

// The first page of the mapping. The payload lies directly behind it, so that
// the headers can be put in front of the payload and the request is in one
// piece.
struct UringEntry::Shared {
  Headers headers;
  char room[4096 - sizeof(Headers)];
};

absl::StatusOr<std::unique_ptr<UringEntry>> UringEntry::Make(
    const Options& options) {
  auto entry = std::unique_ptr<UringEntry>(new UringEntry(options));
  VARVE_RETURN_IF_ERROR(entry->Allocate());
  return entry;
}

absl::Status UringEntry::Allocate() {
  static_assert(sizeof(Shared) == 4096);
  const int error = -io_uring_queue_init(kRingEntries, &ring_, kRingFlags);
  if (error != 0) return SystemError(error, "io_uring cannot be used");
  has_ring_ = true;
  void* const memory =
      mmap(nullptr, sizeof(Shared) + options_.max_payload,
           PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return SystemError(errno, "no memory for requests through io_uring");
  }
  shared_ = new (memory) Shared;
  payload_ = static_cast<char*>(memory) + sizeof(Shared);
  registered_[0] = {&shared_->headers, sizeof(Headers)};
  registered_[1] = {payload_, options_.max_payload};
  return absl::OkStatus();
}

UringEntry::~UringEntry() {
  // Cancels what is pending; the kernel does not touch the memory afterwards.
  if (has_ring_) io_uring_queue_exit(&ring_);
  if (shared_ != nullptr)
    munmap(shared_, sizeof(Shared) + options_.max_payload);
}

struct io_uring_sqe* UringEntry::NewSubmission() {
  struct io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
  if (entry != nullptr) std::memset(entry, 0, 2 * sizeof(*entry));
  return entry;
}

absl::Status UringEntry::SubmitCommand(uint32_t command, uint64_t commit_id) {
  struct io_uring_sqe* const entry = NewSubmission();
  if (entry == nullptr) return absl::InternalError("the ring is full");
  entry->opcode = IORING_OP_URING_CMD;
  entry->fd = options_.fuse_fd;
  entry->cmd_op = command;
  if (command == kRegister) {
    entry->addr = reinterpret_cast<uint64_t>(registered_);
    entry->len = 2;
  }
  entry->user_data = kRequest;
  const Command body = {.flags = 0,
                        .commit_id = commit_id,
                        .queue = static_cast<uint16_t>(options_.queue),
                        .padding = {}};
  std::memcpy(entry->cmd, &body, sizeof(body));
  return absl::OkStatus();
}

absl::Status UringEntry::SubmitWatch() {
  struct io_uring_sqe* const entry = NewSubmission();
  if (entry == nullptr) return absl::InternalError("the ring is full");
  io_uring_prep_poll_add(entry, options_.end_fd, POLLIN);
  entry->user_data = kEnd;
  return absl::OkStatus();
}

absl::StatusOr<bool> UringEntry::Next() {
  if (ended_ && !has_request_) return false;
  if (has_request_) {
    if (awaited_ != 0) AnswerError(EIO);
    has_request_ = false;
    VARVE_RETURN_IF_ERROR(SubmitCommand(kCommitAndFetch, commit_id_));
  } else if (!is_registered_) {
    is_registered_ = true;
    VARVE_RETURN_IF_ERROR(SubmitWatch());
    VARVE_RETURN_IF_ERROR(SubmitCommand(kRegister, 0));
  }
  while (!has_request_) {
    const int result =
        ended_ ? io_uring_submit(&ring_) : io_uring_submit_and_wait(&ring_, 1);
    if (result < 0 && !IsTransient(-result)) {
      ended_ = true;
      return SystemError(-result, "io_uring does not take an answer");
    }
    if (ended_ && result >= 0) return false;
    VARVE_RETURN_IF_ERROR(TakeCompletions());
    if (ended_ && !has_request_) return false;
  }
  return true;
}

absl::Status UringEntry::TakeCompletions() {
  struct io_uring_cqe* completion = nullptr;
  while (io_uring_peek_cqe(&ring_, &completion) == 0) {
    const uint64_t what = completion->user_data;
    const int result = completion->res;
    io_uring_cqe_seen(&ring_, completion);
    if (what == kEnd) {
      ended_ = true;
    } else if (result >= 0) {
      VARVE_RETURN_IF_ERROR(TakeRequest());
    } else {
      ended_ = true;
      if (!IsEnd(-result)) {
        return SystemError(-result, "the kernel takes no answer by io_uring");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status UringEntry::TakeRequest() {
  const Headers& headers = shared_->headers;
  fuse_in_header header;
  std::memcpy(&header, headers.in_out, sizeof(header));
  const size_t payload_size = headers.entry.payload_size;
  // The rest, which is neither header nor payload, is the operation's own
  // header.
  const size_t operation_size = header.len - sizeof(header) - payload_size;
  if (header.len < sizeof(header) || operation_size > kHeaderSize ||
      payload_size > options_.max_payload) {
    ended_ = true;
    return absl::InternalError(absl::StrCat("a request through io_uring of ",
                                            header.len, " bytes, ",
                                            payload_size, " of them data"));
  }
  char* const at = payload_ - operation_size - sizeof(header);
  std::memcpy(at, &header, sizeof(header));
  std::memcpy(at + sizeof(header), headers.operation, operation_size);
  request_ = {at, header.len};
  commit_id_ = headers.entry.commit_id;
  awaited_ = header.unique;
  has_request_ = true;
  return absl::OkStatus();
}

uint32_t UringEntry::read_size() const {
  fuse_in_header header;
  fuse_read_in body;
  if (request_.size() < sizeof(header) + sizeof(body)) return 0;
  std::memcpy(&header, request_.data(), sizeof(header));
  std::memcpy(&body, request_.data() + sizeof(header), sizeof(body));
  return header.opcode == FUSE_READ ? body.size : 0;
}

ssize_t UringEntry::Answer(absl::Span<const struct iovec> pieces) {
  size_t size = 0;
  for (const struct iovec& piece : pieces) size += piece.iov_len;
  fuse_out_header header;
  if (pieces.empty() || pieces[0].iov_len < sizeof(header) ||
      size > sizeof(header) + options_.max_payload) {
    errno = EINVAL;
    return -1;
  }
  std::memcpy(&header, pieces[0].iov_base, sizeof(header));
  char* to = payload_;
  size_t skip = sizeof(header);
  bool is_lost = false;
  for (const struct iovec& piece : pieces) {
    const char* const from = static_cast<const char*>(piece.iov_base) + skip;
    const size_t count = piece.iov_len - skip;
    skip = 0;
    if (count == 0) continue;
    std::memcpy(to, from, count);
    is_lost = is_lost ||
              HasLostBytes({reinterpret_cast<const std::byte*>(from), count});
    to += count;
  }
  if (is_lost) {
    AnswerError(EIO);
    errno = EFAULT;
    return -1;
  }
  std::memcpy(shared_->headers.in_out, &header, sizeof(header));
  shared_->headers.entry.payload_size = static_cast<uint32_t>(to - payload_);
  awaited_ = 0;
  return static_cast<ssize_t>(size);
}

void UringEntry::AnswerError(int error) {
  const fuse_out_header header = {
      .len = sizeof(header), .error = -error, .unique = awaited_};
  std::memcpy(shared_->headers.in_out, &header, sizeof(header));
  shared_->headers.entry.payload_size = 0;
  awaited_ = 0;
}

}  // namespace varve::fs
