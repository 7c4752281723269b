#include "tools/varve/kernel_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "tools/varve/host.h"

namespace varve::tools {
namespace {

constexpr int kPatienceMilliseconds = 1000;
// A flag of FUSE_INIT, from Linux 6.14 on.
constexpr uint64_t kOverIoUring = uint64_t{1} << 41;

// The kernel's first request to a new file system. The header that this is
// built with may be older than the kernel, but the fields that this reads have
// a fixed place.
struct InitRequest {
  fuse_in_header header;
  fuse_init_in init;
};

// Mounts where nobody else sees it, and reads the kernel's first request.
std::optional<FuseOffer> AskInNamespace() {
  // Open the device before entering a user namespace, in which the permission
  // may be lost.
  const Descriptor device(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!device.valid()) return std::nullopt;
  const bool is_root = geteuid() == 0;
  if (unshare(CLONE_NEWNS | (is_root ? 0 : CLONE_NEWUSER)) != 0 ||
      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return std::nullopt;
  }
  const std::string options =
      absl::StrCat("fd=", device.get(), ",rootmode=40000,user_id=", geteuid(),
                   ",group_id=", getegid());
  if (mount("varve", "/proc", "fuse.varve-probe", MS_NOSUID | MS_NODEV,
            options.c_str()) != 0) {
    return std::nullopt;
  }
  struct pollfd event = {device.get(), POLLIN, 0};
  if (poll(&event, 1, kPatienceMilliseconds) != 1) return std::nullopt;
  char buffer[FUSE_MIN_READ_BUFFER];
  const ssize_t size = read(device.get(), buffer, sizeof(buffer));
  InitRequest request = {};
  constexpr size_t kLeast = sizeof(fuse_in_header) + 2 * sizeof(uint32_t);
  if (size < static_cast<ssize_t>(kLeast)) return std::nullopt;
  memcpy(&request, buffer,
         std::min(static_cast<size_t>(size), sizeof(request)));
  const uint64_t flags =
      request.init.flags | (uint64_t{request.init.flags2} << 32);
  return FuseOffer{.major = request.init.major,
                   .minor = request.init.minor,
                   .io_uring = (flags & kOverIoUring) != 0};
}

// Use a child, because a process cannot leave a namespace.
std::optional<FuseOffer> AskFuse() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  const Descriptor from(ends[0]);
  Descriptor to(ends[1]);
  const pid_t child = fork();
  if (child < 0) return std::nullopt;
  if (child == 0) {
    const std::optional<FuseOffer> offer = AskInNamespace();
    const bool told =
        offer.has_value() &&
        write(to.get(), &*offer, sizeof(*offer)) == sizeof(*offer);
    _exit(told ? 0 : 1);
  }
  to.Reset();
  FuseOffer offer;
  const bool told = read(from.get(), &offer, sizeof(offer)) == sizeof(offer);
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return told ? std::optional(offer) : std::nullopt;
}

bool HasIoUring() {
  struct io_uring_params parameters = {};
  const Descriptor ring(
      static_cast<int>(syscall(SYS_io_uring_setup, 1, &parameters)));
  return ring.valid();
}

}  // namespace

KernelOffer ProbeKernel() {
  KernelOffer offer;
  struct utsname name;
  if (uname(&name) == 0) offer.release = name.release;
  offer.fuse_device = Descriptor(open("/dev/fuse", O_RDWR | O_CLOEXEC)).valid();
  if (offer.fuse_device) offer.fuse = AskFuse();
  offer.io_uring = HasIoUring();
  return offer;
}

}  // namespace varve::tools
