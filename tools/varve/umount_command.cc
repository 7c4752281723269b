// varve umount

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mount_answer.h"
#include "tools/varve/mount_holders.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/mountpoint.h"
#include "tools/varve/open_store.h"
#include "tools/varve/patience.h"
#include "tools/varve/unmount.h"

namespace varve::tools {
namespace {

constexpr char kDetails[] =
    R"(Returns when the store has been closed, so that it can be copied or mounted
again at once. Also unmounts a mount that has lost its daemon.

A store stays open as long as it is mounted anywhere else: by a bind mount, or
in the mount namespace of a container or sandbox that was started meanwhile.
After two seconds this command says where that is, and continues to wait.

  --lazy   hides the mount here even if it is in use, and does not wait. The
           store is closed when the last user is gone.
  --force  ends the daemon. It saves everything that programs have written, even
           to files that are still open, and closes the store. From then on
           these programs get errors. If the daemon does not answer, root can
           cut it off instead: what it has acknowledged is in the store.

Example:
  varve umount ~/photos
)";

// What the process says that has looked at the store.
constexpr absl::string_view kStillOpen = "open";
constexpr absl::Duration kLockPoll = absl::Milliseconds(50);

struct Arguments {
  std::string directory;
  bool lazy = false;
  bool force = false;
  std::optional<double> timeout_seconds;
};

// Like those of glibc, whose declarations C++ cannot use before 2.37.
Descriptor OpenProcess(pid_t pid) {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}
int SendSignal(const Descriptor& process, int number) {
  return static_cast<int>(
      syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0));
}

// The daemon behind a mount, if this process can see it.
struct Daemon {
  DaemonState state;
  // Open it before unmounting: afterwards the pid may belong to another
  // process.
  Descriptor process;
};

// One unmount, and how long it may take.
class Unmounting {
 public:
  Unmounting(MountInfo mount, absl::Duration timeout)
      : mount_(std::move(mount)), timeout_(timeout), patience_(timeout) {}

  absl::Status Clean();
  absl::Status Lazy() { return TakeAway(UnmountMode::kLazy); }
  absl::Status Force();

 private:
  absl::StatusOr<Daemon> Ask(const Patience& patience) const;
  absl::Status TakeAway(UnmountMode mode) const;
  absl::Status Terminate(const Daemon& daemon) const;
  absl::Status CutOff() const;
  absl::Status WaitUntilClosed(const Daemon& daemon) const;
  absl::Status WaitForLock(const Patience::Why& why) const;
  absl::Status CheckClosed() const;
  std::string WhyNotClosed(std::optional<pid_t> pid) const;

  const MountInfo mount_;
  const absl::Duration timeout_;
  const Patience patience_;
};

// The failure of a wait that took too long.
absl::Status AsBusy(const absl::Status& status) {
  if (!absl::IsDeadlineExceeded(status)) return status;
  return ExitError(ExitStatus::kBusy, status.message());
}

std::string Unmounting::WhyNotClosed(std::optional<pid_t> pid) const {
  if (pid.has_value() && IsStopped(*pid)) {
    return absl::StrCat("unmounted, but ", mount_.source,
                        " stays open, as its daemon, pid ", *pid,
                        ", is stopped (`kill -CONT ", *pid, "` lets it go on)");
  }
  const std::string holders = DescribeHolders(FindMountHolders(mount_));
  if (!holders.empty()) {
    return absl::StrCat(
        "unmounted here, but ", mount_.source, " stays open",
        pid.has_value() ? absl::StrCat(" (by pid ", *pid, ")") : "",
        " as long as it is mounted at ", holders,
        pid.has_value() ? absl::StrCat("; `kill ", *pid,
                                       "` ends its daemon nevertheless, which "
                                       "saves everything first")
                        : "");
  }
  return absl::StrCat(
      "unmounted, but ", mount_.source,
      " has not been closed yet by its daemon",
      pid.has_value() ? absl::StrCat(" (pid ", *pid, ")") : "",
      ", nor is it mounted anywhere that can be seen from here");
}

absl::StatusOr<Daemon> Unmounting::Ask(const Patience& patience) const {
  const std::string& directory = mount_.directory;
  VARVE_ASSIGN_OR_RETURN(const std::string answer,
                         patience.Run(
                             [&directory]() -> absl::StatusOr<std::string> {
                               return Encode(AskDaemon(directory));
                             },
                             [this] { return WhyNoAnswer(mount_); }));
  Daemon daemon{.state = Decode(answer), .process = {}};
  if (daemon.state.pid.has_value()) {
    daemon.process = OpenProcess(*daemon.state.pid);
  }
  return daemon;
}

absl::Status Unmounting::TakeAway(UnmountMode mode) const {
  const auto unmount = [this, mode]() -> absl::StatusOr<std::string> {
    VARVE_RETURN_IF_ERROR(Unmount(mount_.directory, mode));
    return std::string();
  };
  // The kernel writes back its dirty pages of mapped files.
  return AsBusy(
      patience_.Run(unmount, [this] { return WhyNoAnswer(mount_); }).status());
}

absl::Status Unmounting::WaitForLock(const Patience::Why& why) const {
  // The store may lie in a mount that hangs.
  const absl::Status status =
      patience_
          .Run(
              [this]() -> absl::StatusOr<std::string> {
                constexpr absl::Duration kStep = absl::Hours(1);
                while (SystemErrorNumber(WaitUntilUnlocked(
                           mount_.source, kStep)) == EWOULDBLOCK) {
                }
                // It may lie where this process may only read.
                while (IsInUse(mount_.source)) {
                  // sleep: only taking the lock would wait for it.
                  absl::SleepFor(kLockPoll);
                }
                return std::string();
              },
              why)
          .status();
  return absl::IsDeadlineExceeded(status) ? status : absl::OkStatus();
}

absl::Status Unmounting::CheckClosed() const {
  // A daemon cannot tell a stranger how it has ended, but the store can.
  const auto look = [this]() -> absl::StatusOr<std::string> {
    VARVE_ASSIGN_OR_RETURN(const auto volume,
                           OpenVolume(mount_.source, {.read_only = true}));
    const bool is_open = volume->cut_short().ok() &&
                         !volume->closed_properly() &&
                         // Otherwise it was mounted again meanwhile.
                         !IsInUse(mount_.source);
    return std::string(is_open ? kStillOpen : "");
  };
  const auto found = AskInTime(mount_.source, look);
  if (ExitStatusOf(found.status()) == ExitStatus::kBusy) return found.status();
  // If it is gone, or worse, it was not its daemon that failed.
  if (!found.ok() || *found != kStillOpen) return absl::OkStatus();
  return ExitError(
      ExitStatus::kCutShort,
      absl::StrCat("unmounted, but ", mount_.source,
                   " was not closed properly; the log says why (journalctl -t "
                   "varve), and the next mount closes it"));
}

absl::Status Unmounting::WaitUntilClosed(const Daemon& daemon) const {
  const std::optional<pid_t> pid = daemon.state.pid;
  const auto why = [&] { return WhyNotClosed(pid); };
  if (daemon.process.valid()) {
    VARVE_RETURN_IF_ERROR(AsBusy(patience_.WaitFor(daemon.process.get(), why)));
  }
  // A daemon that only reads has no lock, and nothing that could be lost.
  if (daemon.state.read_only) return absl::OkStatus();
  // If this process cannot see the daemon, it can still see its lock.
  if (!daemon.process.valid()) {
    VARVE_RETURN_IF_ERROR(AsBusy(WaitForLock(why)));
  }
  return CheckClosed();
}

absl::Status Unmounting::Clean() {
  const absl::StatusOr<Daemon> daemon = Ask(patience_);
  if (!daemon.ok()) return AsBusy(daemon.status());
  if (daemon->state.dead) return Lazy();
  VARVE_RETURN_IF_ERROR(TakeAway(UnmountMode::kClean));
  return WaitUntilClosed(*daemon);
}

// The daemon unmounts by itself and saves what the kernel still has cached.
absl::Status Unmounting::Terminate(const Daemon& daemon) const {
  if (!daemon.process.valid()) {
    return ExitError(ExitStatus::kRefused,
                     absl::StrCat("the daemon of ", mount_.directory,
                                  " cannot be seen from here, nor ended"));
  }
  const pid_t pid = *daemon.state.pid;
  if (SendSignal(daemon.process, SIGTERM) != 0 && errno != ESRCH) {
    if (errno == EPERM) {
      return ExitError(
          ExitStatus::kNoPermission,
          absl::StrCat("only root and the user who mounted it may end "
                       "the daemon of ",
                       mount_.directory, ", pid ", pid));
    }
    return SystemError(errno, absl::StrCat("cannot end pid ", pid));
  }
  VARVE_RETURN_IF_ERROR(
      AsBusy(patience_.WaitFor(daemon.process.get(), [this, pid] {
        return absl::StrCat("the daemon of ", mount_.directory, ", pid ", pid,
                            ", was asked to end, and ",
                            IsStopped(pid) ? "is stopped" : "has not done so");
      })));
  // It cannot unmount in a namespace that is not its own.
  VARVE_ASSIGN_OR_RETURN(const auto mounts, ReadMountInfo());
  const auto still = FindMountAt(mounts, mount_.directory);
  if (still.has_value() && still->device == mount_.device &&
      still->id == mount_.id) {
    VARVE_RETURN_IF_ERROR(TakeAway(UnmountMode::kLazy));
  }
  return daemon.state.read_only ? absl::OkStatus() : CheckClosed();
}

absl::Status Unmounting::CutOff() const {
  Daemon daemon;
  daemon.state.read_only = mount_.read_only;
  if (!mount_.read_only) daemon.state.pid = WriterOf(mount_.source);
  if (daemon.state.pid.has_value()) {
    daemon.process = OpenProcess(*daemon.state.pid);
  }
  VARVE_RETURN_IF_ERROR(TakeAway(UnmountMode::kCutOff));
  return WaitUntilClosed(daemon);
}

absl::Status Unmounting::Force() {
  const absl::StatusOr<Daemon> daemon =
      Ask(Patience(std::min(timeout_, Patience::kSilence)));
  if (absl::IsDeadlineExceeded(daemon.status())) return CutOff();
  if (!daemon.ok()) return daemon.status();
  if (daemon->state.dead) return Lazy();
  return Terminate(*daemon);
}

absl::Status Umount(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(MountInfo mount, FindOwnMount(arguments.directory));
  Unmounting unmounting(std::move(mount),
                        arguments.timeout_seconds.has_value()
                            ? absl::Seconds(*arguments.timeout_seconds)
                            : absl::InfiniteDuration());
  // Do not ask a daemon that may hang unless necessary.
  if (arguments.lazy) return unmounting.Lazy();
  return arguments.force ? unmounting.Force() : unmounting.Clean();
}

}  // namespace

void AddUmountCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "umount", "Unmount a store, and wait until it is closed", kDetails);
  command.alias("unmount");
  auto arguments = std::make_shared<Arguments>();
  command.add_option("DIR", arguments->directory, "Where it is mounted")
      ->required();
  CLI::Option* const lazy =
      command.add_flag("-l,--lazy", arguments->lazy,
                       "Unmount even if it is in use, and do not wait");
  command
      .add_flag("-f,--force", arguments->force,
                "End the daemon, even if the mount is in use")
      ->excludes(lazy);
  command
      .add_option(
          "--timeout", arguments->timeout_seconds,
          "The longest wait in seconds; without it, as long as it takes")
      ->type_name("SECONDS")
      ->check(CLI::NonNegativeNumber);
  OnCommand(command, action, std::move(arguments), &Umount);
}

}  // namespace varve::tools
