#include "fs/fuse/channel.h"

#include <errno.h>
#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "fs/fuse/context.h"
#include "fs/transport/uring_loop.h"

namespace varve::fs {
namespace {

thread_local fuse_in_header last_request = {};
thread_local bool drops_privileges = false;
thread_local AnswerSent answer_sent;
// The unique number of the INIT request while its answer is outstanding. The
// kernel sends one INIT per connection, before anything else.
thread_local uint64_t init_unique = 0;

// Flags to negotiate in addition to those of libfuse.
constexpr uint32_t kAddedFlags = FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT;
// Those that the kernel agreed to. Set once, before the kernel sends anything
// else.
std::atomic<uint32_t> agreed_flags{0};
thread_local fuse_init_in init_offer = {};

// Bit 41 of the flags, which is in their second half; from the kernel's fuse.h,
// version 7.42.
constexpr uint32_t kOverIoUring = 1u << (41 - 32);

// Reads the fields of a request behind its header. Returns false if it is too
// short.
template <typename T>
bool ReadBody(const void* request, size_t size, T& body) {
  if (size < sizeof(fuse_in_header) + sizeof(T)) return false;
  std::memcpy(&body, static_cast<const char*>(request) + sizeof(fuse_in_header),
              sizeof(T));
  return true;
}

bool DropsPrivileges(uint32_t opcode, const void* request, size_t size) {
  switch (opcode) {
    case FUSE_WRITE: {
      fuse_write_in body;
      return ReadBody(request, size, body) &&
             (body.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
    }
    case FUSE_SETATTR: {
      fuse_setattr_in body;
      return ReadBody(request, size, body) &&
             (body.valid & FATTR_KILL_SUIDGID) != 0;
    }
    case FUSE_OPEN: {
      fuse_open_in body;
      return ReadBody(request, size, body) &&
             (body.open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
    }
    default:
      return false;
  }
}

void NoteInit(const fuse_in_header& header, const void* request, size_t size) {
  fuse_init_in body;
  if (!ReadBody(request, size, body)) return;
  init_unique = header.unique;
  init_offer = body;
}

// Converts SETXATTR to its older, shorter form, the only one that libfuse
// knows.
size_t ShortenSetXattr(void* buffer, fuse_in_header header, size_t size) {
  fuse_setxattr_in body;
  if ((agreed_flags.load(std::memory_order_relaxed) & FUSE_SETXATTR_EXT) == 0 ||
      !ReadBody(buffer, size, body)) {
    return size;
  }
  drops_privileges = (body.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
  constexpr size_t kSurplus = sizeof(body) - FUSE_COMPAT_SETXATTR_IN_SIZE;
  constexpr size_t kTo = sizeof(header) + FUSE_COMPAT_SETXATTR_IN_SIZE;
  char* const bytes = static_cast<char*>(buffer);
  std::memmove(bytes + kTo, bytes + kTo + kSurplus, size - kTo - kSurplus);
  header.len -= kSurplus;
  std::memcpy(buffer, &header, sizeof(header));
  return size - kSurplus;
}

ssize_t Receive(int fd, void* buffer, size_t size, void*) {
  const ssize_t received = read(fd, buffer, size);
  if (received <= 0) return received;
  return static_cast<ssize_t>(
      NoteRequest(buffer, static_cast<size_t>(received)));
}

// Whether requests will come through io_uring. The answer `out` to INIT says
// how large they may be.
bool PrepareRings(FuseContext& context, const fuse_init_out& out) {
  if (context.rings == nullptr) return false;
  const bool is_offered = (init_offer.flags & FUSE_INIT_EXT) != 0 &&
                          (init_offer.flags2 & kOverIoUring) != 0;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t in_pages = page * std::max<size_t>(out.max_pages, 32);
  return context.rings->Prepare(is_offered,
                                std::max<size_t>(out.max_write, in_pages));
}

// Adds the flags that libfuse does not know to an answer to INIT. Returns
// whether it tells the kernel to use io_uring.
bool AmendInit(FuseContext& context, const fuse_out_header& header,
               struct iovec* pieces, int count) {
  if (init_unique == 0 || header.unique != init_unique) return false;
  init_unique = 0;
  fuse_init_out out;
  if (header.error != 0 || count != 2 || pieces[1].iov_len < sizeof(out)) {
    return false;
  }
  std::memcpy(&out, pieces[1].iov_base, sizeof(out));
  // Flags that libfuse has asked for itself it also handles itself.
  const uint32_t added = kAddedFlags & init_offer.flags & ~out.flags;
  agreed_flags.store(added);
  out.flags |= added;
  const bool by_rings = PrepareRings(context, out);
  if (by_rings) {
    out.flags |= FUSE_INIT_EXT;
    out.flags2 |= kOverIoUring;
  }
  std::memcpy(pieces[1].iov_base, &out, sizeof(out));
  return by_rings;
}

// Notes how the request of this thread is answered. Notifications are not
// answers.
void NoteAnswer(const struct iovec* pieces, int count) {
  fuse_out_header header;
  if (count < 1 || pieces[0].iov_len < sizeof(header)) return;
  std::memcpy(&header, pieces[0].iov_base, sizeof(header));
  if (header.unique != last_request.unique) return;
  answer_sent.error = -header.error;
  answer_sent.bytes = header.len - sizeof(header);
  fuse_write_out out;
  const bool is_write = last_request.opcode == FUSE_WRITE ||
                        last_request.opcode == FUSE_COPY_FILE_RANGE;
  if (is_write && count > 1 && pieces[1].iov_len >= sizeof(out)) {
    std::memcpy(&out, pieces[1].iov_base, sizeof(out));
    answer_sent.written = out.size;
  }
}

ssize_t Send(int fd, struct iovec* pieces, int count, void* userdata) {
  auto& context = *static_cast<FuseContext*>(userdata);
  NoteAnswer(pieces, count);
  const std::optional<ssize_t> by_ring =
      UringLoop::Answer({pieces, static_cast<size_t>(count)});
  if (by_ring.has_value()) return *by_ring;
  fuse_out_header header;
  bool starts_rings = false;
  if (count > 0 && pieces[0].iov_len >= sizeof(header)) {
    std::memcpy(&header, pieces[0].iov_base, sizeof(header));
    starts_rings = AmendInit(context, header, pieces, count);
  }
  const ssize_t sent = writev(fd, pieces, count);
  if (starts_rings && sent >= 0) context.rings->Start();
  if (sent >= 0 || errno != EFAULT) return sent;
  // If bytes of the store's mapping cannot be read, because the disk fails or
  // the file was truncated, the kernel returns EFAULT here. (If this process
  // touched them, it would get SIGBUS.)
  header.len = sizeof(header);
  header.error = -EIO;
  answer_sent = {.error = EIO};
  return write(fd, &header, sizeof(header)) < 0 ? -1 : sent;
}

}  // namespace

size_t NoteRequest(void* request, size_t size) {
  if (size < sizeof(fuse_in_header)) return size;
  const fuse_in_header& header = last_request;
  std::memcpy(&last_request, request, sizeof(last_request));
  answer_sent = {};
  drops_privileges = DropsPrivileges(header.opcode, request, size);
  if (header.opcode == FUSE_INIT) NoteInit(header, request, size);
  if (header.opcode != FUSE_SETXATTR) return size;
  return ShortenSetXattr(request, header, size);
}

void SendAnswer(FuseContext& context, uint64_t unique, int number,
                absl::string_view body) {
  struct fuse_out_header header = {};
  header.len = static_cast<uint32_t>(sizeof(header) + body.size());
  header.error = -number;
  header.unique = unique;
  struct iovec pieces[] = {{&header, sizeof(header)},
                           {const_cast<char*>(body.data()), body.size()}};
  // Fails only if nobody waits for the answer any more.
  [[maybe_unused]] const ssize_t sent = Send(
      fuse_session_fd(context.session), pieces, body.empty() ? 1 : 2, &context);
}

struct fuse_custom_io FuseChannelIo() {
  struct fuse_custom_io io = {};
  io.writev = Send;
  io.read = Receive;
  return io;
}

bool RequestDropsPrivileges() { return drops_privileges; }

uint32_t CallingThread() { return last_request.pid; }

const AnswerSent& LastAnswer() { return answer_sent; }

uint64_t RequestInode() { return last_request.nodeid; }

uint32_t RequestOpcode() { return last_request.opcode; }

}  // namespace varve::fs
