#include "fs/fuse_channel.h"

#include <errno.h>
#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

namespace varve::fs {
namespace {

thread_local fuse_in_header last_request = {};
thread_local bool drops_privileges = false;
// The unique number of the INIT request while its answer is awaited; the kernel
// sends one INIT per connection, before anything else.
thread_local uint64_t init_unique = 0;

// Agreed on with the kernel in addition to what libfuse asks for.
constexpr uint32_t kAddedFlags = FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT;
// Which of them were; set once, before the kernel sends anything else.
std::atomic<uint32_t> agreed_flags{0};
thread_local uint32_t offered_flags = 0;

// The fields of a request behind its header, if it is as long as that.
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
  offered_flags = body.flags;
}

// libfuse knows the older, shorter form of SETXATTR only: makes it that.
ssize_t ShortenSetXattr(void* buffer, fuse_in_header header, size_t size) {
  fuse_setxattr_in body;
  if ((agreed_flags.load(std::memory_order_relaxed) & FUSE_SETXATTR_EXT) == 0 ||
      !ReadBody(buffer, size, body)) {
    return static_cast<ssize_t>(size);
  }
  drops_privileges = (body.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
  constexpr size_t kSurplus = sizeof(body) - FUSE_COMPAT_SETXATTR_IN_SIZE;
  constexpr size_t kTo = sizeof(header) + FUSE_COMPAT_SETXATTR_IN_SIZE;
  char* const bytes = static_cast<char*>(buffer);
  std::memmove(bytes + kTo, bytes + kTo + kSurplus, size - kTo - kSurplus);
  header.len -= kSurplus;
  std::memcpy(buffer, &header, sizeof(header));
  return static_cast<ssize_t>(size - kSurplus);
}

ssize_t Receive(int fd, void* buffer, size_t size, void*) {
  const ssize_t received = read(fd, buffer, size);
  if (received < static_cast<ssize_t>(sizeof(fuse_in_header))) return received;
  const fuse_in_header& header = last_request;
  std::memcpy(&last_request, buffer, sizeof(last_request));
  const auto length = static_cast<size_t>(received);
  drops_privileges = DropsPrivileges(header.opcode, buffer, length);
  if (header.opcode == FUSE_INIT) NoteInit(header, buffer, length);
  if (header.opcode == FUSE_SETXATTR) {
    return ShortenSetXattr(buffer, header, length);
  }
  return received;
}

// Adds to an answer to INIT what libfuse does not know of.
void AmendInit(const fuse_out_header& header, struct iovec* pieces, int count) {
  if (init_unique == 0 || header.unique != init_unique) return;
  init_unique = 0;
  constexpr size_t kFlags = offsetof(fuse_init_out, flags);
  if (header.error != 0 || count != 2 ||
      pieces[1].iov_len < kFlags + sizeof(uint32_t)) {
    return;
  }
  uint32_t flags;
  char* const at = static_cast<char*>(pieces[1].iov_base) + kFlags;
  std::memcpy(&flags, at, sizeof(flags));
  // What libfuse has asked for itself it also handles itself.
  const uint32_t added = kAddedFlags & offered_flags & ~flags;
  agreed_flags.store(added);
  flags |= added;
  std::memcpy(at, &flags, sizeof(flags));
}

ssize_t Send(int fd, struct iovec* pieces, int count, void*) {
  fuse_out_header header;
  if (count > 0 && pieces[0].iov_len >= sizeof(header)) {
    std::memcpy(&header, pieces[0].iov_base, sizeof(header));
    AmendInit(header, pieces, count);
  }
  const ssize_t sent = writev(fd, pieces, count);
  if (sent >= 0 || errno != EFAULT) return sent;
  // Bytes of the store's map that cannot be read (its disk fails, or it was cut
  // short) are EFAULT to the kernel, where this process, touching them, would
  // die of SIGBUS.
  header.len = sizeof(header);
  header.error = -EIO;
  return write(fd, &header, sizeof(header)) < 0 ? -1 : sent;
}

}  // namespace

struct fuse_custom_io FuseChannelIo() {
  struct fuse_custom_io io = {};
  io.writev = Send;
  io.read = Receive;
  return io;
}

bool RequestDropsPrivileges() { return drops_privileges; }

uint32_t CallingThread() { return last_request.pid; }

bool RequestMayTakeLong() {
  switch (last_request.opcode) {
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_SYNCFS:
    case FUSE_IOCTL:
    case FUSE_FALLOCATE:
    case FUSE_COPY_FILE_RANGE:
      return true;
    default:
      return false;
  }
}

}  // namespace varve::fs
