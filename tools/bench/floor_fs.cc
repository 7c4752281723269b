// The floor under every FUSE file system: it keeps everything in memory and
// does nothing but answer. The time of a workload on it is the kernel's share;
// no daemon can be faster. It asks the kernel for the same caching as Varve,
// and answers the same requests.
//
// usage: floor [--writeback] [--keep] MOUNTPOINT
//
// Stays in the foreground until it is unmounted or terminated. With --keep it
// waits after an unmount, and mounts the same files again at each SIGHUP.
//
// Not supported: rename flags except RENAME_NOREPLACE, extended attributes
// except access lists that only repeat the mode, and clearing set-user-ID bits.

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "tools/bench/floor_operations.h"

namespace varve::bench {
namespace {

struct Options {
  FloorOptions operations;
  bool keep = false;
  std::string mountpoint;
};

// ---- The connection ---------------------------------------------------------

// libfuse cannot ask for FUSE_HANDLE_KILLPRIV_V2, without which the kernel asks
// for an attribute before each write. So this adds it on the way, as Varve
// does.
thread_local uint64_t init_unique = 0;

ssize_t Receive(int fd, void* buffer, size_t size, void*) {
  const ssize_t received = read(fd, buffer, size);
  fuse_in_header header;
  fuse_init_in init;
  if (received < static_cast<ssize_t>(sizeof(header) + sizeof(init))) {
    return received;
  }
  std::memcpy(&header, buffer, sizeof(header));
  if (header.opcode != FUSE_INIT) return received;
  std::memcpy(&init, static_cast<char*>(buffer) + sizeof(header), sizeof(init));
  if ((init.flags & FUSE_HANDLE_KILLPRIV_V2) != 0) init_unique = header.unique;
  return received;
}

ssize_t Send(int fd, struct iovec* pieces, int count, void*) {
  fuse_out_header header;
  std::memcpy(&header, pieces[0].iov_base, sizeof(header));
  if (init_unique != 0 && header.unique == init_unique && count == 2) {
    init_unique = 0;
    char* const at = static_cast<char*>(pieces[1].iov_base) +
                     offsetof(struct fuse_init_out, flags);
    uint32_t flags;
    std::memcpy(&flags, at, sizeof(flags));
    flags |= FUSE_HANDLE_KILLPRIV_V2;
    std::memcpy(at, &flags, sizeof(flags));
  }
  return writev(fd, pieces, count);
}

// One thread: answers requests until the mount is gone.
void Work(struct fuse_session* session, int ended) {
  struct fuse_buf buffer = {};
  while (!fuse_session_exited(session)) {
    const int received = fuse_session_receive_buf(session, &buffer);
    if (received == -EINTR || received == -EAGAIN) continue;
    if (received <= 0) break;
    fuse_session_process_buf(session, &buffer);
  }
  std::free(buffer.mem);
  eventfd_write(ended, 1);
}

// A descriptor for the signals in `set`, which are blocked.
int OpenSignals(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return signalfd(-1, &set, SFD_CLOEXEC);
}

struct fuse_session* Mount(Options& options) {
  static const struct fuse_lowlevel_ops operations = FloorOperations();
  static const struct fuse_custom_io io = {.writev = Send,
                                           .read = Receive,
                                           .splice_receive = nullptr,
                                           .splice_send = nullptr};
  struct fuse_args args = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&args, "floor");
  fuse_opt_add_arg(&args, "-odefault_permissions,subtype=floor,fsname=floor");
  struct fuse_session* const session = fuse_session_new(
      &args, &operations, sizeof(operations), &options.operations);
  fuse_opt_free_args(&args);
  if (session == nullptr) return nullptr;
  if (fuse_session_mount(session, options.mountpoint.c_str()) != 0) {
    fuse_session_destroy(session);
    return nullptr;
  }
  fuse_session_custom_io(session, &io, fuse_session_fd(session));
  return session;
}

// Serves one mount until it ends. Returns false if the process should
// terminate.
bool Serve(struct fuse_session* session, const Options& options,
           int terminate) {
  const int ended = eventfd(0, EFD_CLOEXEC);
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  std::vector<std::thread> workers;
  for (int i = 0; i < std::clamp(2 * processors, 4, 16); ++i) {
    workers.emplace_back(Work, session, ended);
  }
  struct pollfd events[] = {{terminate, POLLIN, 0}, {ended, POLLIN, 0}};
  while (poll(events, 2, -1) < 0 && errno == EINTR) {
  }
  const bool terminated = events[0].revents != 0;
  if (terminated && umount2(options.mountpoint.c_str(), UMOUNT_NOFOLLOW) != 0) {
    // It is in use, or we may not unmount it: the threads would not end.
    fuse_session_unmount(session);
    std::_Exit(0);
  }
  for (std::thread& worker : workers) worker.join();
  close(ended);
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  Tree().ForgetAll();
  return !terminated;
}

// After an unmount: whether to mount again.
bool IsAskedToRemount(int remount, int terminate) {
  struct pollfd events[] = {{terminate, POLLIN, 0}, {remount, POLLIN, 0}};
  while (poll(events, 2, -1) < 0 && errno == EINTR) {
  }
  struct signalfd_siginfo signal;
  return events[0].revents == 0 &&
         read(remount, &signal, sizeof(signal)) == sizeof(signal);
}

int Main(Options& options) {
  const int terminate = OpenSignals({SIGTERM, SIGINT});
  const int remount = OpenSignals({SIGHUP});
  do {
    struct fuse_session* const session = Mount(options);
    if (session == nullptr) return 1;  // libfuse has said why
    if (!Serve(session, options, terminate)) return 0;
  } while (options.keep && IsAskedToRemount(remount, terminate));
  return 0;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  varve::bench::Options options;
  bool valid = true;
  for (int i = 1; i < argc; ++i) {
    const absl::string_view argument = argv[i];
    if (argument == "--writeback") {
      options.operations.writeback = true;
    } else if (argument == "--keep") {
      options.keep = true;
    } else {
      valid = options.mountpoint.empty() && !absl::StartsWith(argument, "-");
      options.mountpoint = argv[i];
      if (!valid) break;
    }
  }
  if (!valid || options.mountpoint.empty()) {
    std::fprintf(stderr, "usage: floor [--writeback] [--keep] MOUNTPOINT\n");
    return 2;
  }
  return varve::bench::Main(options);
}
