// varve umount

#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/status.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/open_store.h"
#include "tools/varve/unmount.h"

namespace varve::tools {
namespace {

constexpr char kDetails[] =
    R"(Returns when the store has been closed, so that it can be copied or mounted
again at once. A mount that has lost its daemon is taken away, too.

Example:
  varve umount ~/photos
)";

struct Arguments {
  std::string directory;
  bool lazy = false;
  std::optional<double> timeout_seconds;
};

absl::Status Missing(const std::string& directory) {
  return ExitError(ExitStatus::kNotFound,
                   absl::StrCat(directory, " does not exist"));
}

absl::StatusOr<MountInfo> FindMount(const std::string& directory) {
  const absl::StatusOr<std::string> real = RealPathOfLast(directory);
  if (SystemErrorNumber(real.status()) == ENOENT) return Missing(directory);
  if (!real.ok()) return real.status();
  VARVE_ASSIGN_OR_RETURN(const auto mounts, ReadMountInfo());
  const std::optional<MountInfo> mount = FindMountAt(mounts, *real);
  if (mount.has_value() && mount->is_varve()) return *mount;
  if (!mount.has_value() && access(real->c_str(), F_OK) != 0 &&
      errno == ENOENT) {
    return Missing(directory);
  }
  return ExitError(
      ExitStatus::kRefused,
      absl::StrCat(
          "no store is mounted at ", directory,
          mount.has_value()
              ? absl::StrCat(" (what is mounted there is ", mount->type, ")")
              : ""));
}

// As glibc's, whose declaration C++ cannot use before 2.37.
Descriptor OpenProcess(pid_t pid) {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

absl::Status TimedOut(const std::string& store, const std::string& who) {
  return ExitError(ExitStatus::kBusy,
                   absl::StrCat("unmounted, but ", store,
                                " has not been closed in time by ", who));
}

// Waits until the process behind `pidfd` has ended.
absl::Status WaitForEnd(const Descriptor& pidfd, absl::Time deadline,
                        const std::string& store, pid_t pid) {
  while (true) {
    int milliseconds = -1;
    if (deadline != absl::InfiniteFuture()) {
      const absl::Duration left =
          std::clamp(deadline - absl::Now(), absl::ZeroDuration(),
                     absl::Milliseconds(std::numeric_limits<int>::max()));
      milliseconds = static_cast<int>(absl::ToInt64Milliseconds(left));
    }
    struct pollfd event = {pidfd.get(), POLLIN, 0};
    const int count = poll(&event, 1, milliseconds);
    if (count > 0) return absl::OkStatus();
    if (count == 0) return TimedOut(store, absl::StrCat("pid ", pid));
    if (errno != EINTR) return SystemError(errno, "cannot wait for the daemon");
  }
}

// For where the daemon cannot be seen: its lock can.
absl::Status WaitForLock(absl::Duration timeout, const std::string& store) {
  const absl::Status status = WaitUntilUnlocked(store, timeout);
  if (SystemErrorNumber(status) != EWOULDBLOCK) return absl::OkStatus();
  return TimedOut(store, absl::StrCat("its daemon (", status.message(), ")"));
}

absl::Status Umount(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const MountInfo mount, FindMount(arguments.directory));
  // A daemon that does not answer is asked nothing if it need not be.
  if (arguments.lazy || IsDeadMount(mount.directory)) {
    // The store is closed when the last user is gone.
    return Unmount(mount.directory, UnmountMode::kLazy);
  }
  const std::optional<pid_t> pid = DaemonOf(mount.directory);
  // Opened before unmounting: afterwards the number may be another process's.
  Descriptor pidfd;
  if (pid.has_value()) pidfd = OpenProcess(*pid);
  VARVE_RETURN_IF_ERROR(Unmount(mount.directory, UnmountMode::kClean));
  const absl::Duration timeout = arguments.timeout_seconds.has_value()
                                     ? absl::Seconds(*arguments.timeout_seconds)
                                     : absl::InfiniteDuration();
  if (!pidfd.valid()) {
    // A read-only mount has no lock, and keeps nothing that could be lost.
    return mount.read_only ? absl::OkStatus()
                           : WaitForLock(timeout, mount.source);
  }
  return WaitForEnd(pidfd, absl::Now() + timeout, mount.source, *pid);
}

}  // namespace

void AddUmountCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "umount", "Unmount a store, and wait until it is closed", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("DIR", arguments->directory, "Where it is mounted")
      ->required();
  command.add_flag("-l,--lazy", arguments->lazy,
                   "Unmount even if it is in use, and do not wait");
  command
      .add_option("--timeout", arguments->timeout_seconds,
                  "Seconds to wait at most; without it, as long as it takes")
      ->check(CLI::NonNegativeNumber);
  OnCommand(command, action, std::move(arguments), &Umount);
}

}  // namespace varve::tools
