// varve compact

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/ioctl/ioctl_structs.h"
#include "tools/varve/command.h"
#include "tools/varve/compaction_report.h"
#include "tools/varve/compaction_target.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/progress.h"

namespace varve::tools {
namespace {

constexpr char kDetails[] =
    R"(Copies all live data into a new file, which then replaces the store. A mounted
store stays in use meanwhile: its mount does the work, and this command shows
the progress. Until the end both files need space on the disk. With --punch, the
space of dead data is returned to the disk in place: that reclaims less, but
needs no free space and little time.

What history keeps stays: the moments of the policy's window (`varve history`)
and snapshots. With --forget, the window is let go first, and only snapshots stay.

If a compaction is already running, this command joins it and waits for its end.
Ctrl-C (or SIGTERM) cancels the compaction, even one that was joined. The store
is then as it was before, and the exit status is 130.

RATE is in bytes per second: 500K, 50M, 1G (powers of 1024).

Example:
  varve compact ~/photos
  varve compact --dry-run photos.varve
  varve compact --limit 50M --json photos.varve
)";

// How often to ask for progress and move the bar.
constexpr absl::Duration kShowEvery = absl::Milliseconds(100);

struct Arguments {
  std::string path;
  std::optional<std::string> limit;
  bool punch = false;
  bool forget = false;
  bool dry_run = false;
  bool json = false;
};

// Takes signals that ask this command to end as requests to cancel. Must be
// made before any thread, as threads inherit the blocked signals.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&signals_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
      // Leave signals ignored for a command that was started by nohup(1) or in
      // the background.
      struct sigaction action = {};
      if (sigaction(number, nullptr, &action) == 0 &&
          action.sa_handler != SIG_IGN) {
        sigaddset(&signals_, number);
      }
    }
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  ~StopSignals() { Release(); }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Waits for a signal for up to `limit`; returns whether one came.
  bool Wait(absl::Duration limit) const {
    const struct timespec timeout = absl::ToTimespec(limit);
    return sigtimedwait(&signals_, nullptr, &timeout) > 0;
  }

  // Restores the usual effect of the signals.
  void Release() {
    pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
    sigemptyset(&signals_);
  }

 private:
  sigset_t signals_;
};

// Says in figures which space is missing.
std::string TooLittleSpace(CompactionTarget& target) {
  const auto statistics = target.GetStatistics();
  if (!statistics.ok()) return "there is too little free space on the disk";
  return absl::StrCat("it needs ", HumanBytes(statistics->peak_extra_bytes),
                      " of free space on the disk, and there are ",
                      HumanBytes(statistics->available_bytes));
}

std::string TextOf(int number, absl::string_view message) {
  if (!message.empty()) return std::string(message);
  char buffer[128];
  // The GNU variant, which may return a text of its own instead of `buffer`.
  return strerror_r(number, buffer, sizeof(buffer));
}

// The message about a failure, with what the user can do about it. `message`
// may be empty.
absl::Status Failure(CompactionTarget& target, int number,
                     absl::string_view message) {
  const std::string cannot =
      absl::StrCat("cannot compact ", target.name(), ": ");
  const bool is_mounted = !target.mountpoint().empty();
  switch (number) {
    case ECANCELED:
      return ExitError(ExitStatus::kCancelled,
                       absl::StrCat("compacting ", target.name(),
                                    " was cancelled; nothing is lost"));
    case EPERM:
      if (!is_mounted) break;
      return ExitError(
          ExitStatus::kNoPermission,
          absl::StrCat(cannot,
                       "only root and the user who mounted it may do that"));
    case EROFS:
      if (!is_mounted) break;
      return ExitError(
          ExitStatus::kReadOnly,
          absl::StrCat(cannot,
                       "the mount is read-only; unmount it, and compact ",
                       target.store()));
    case ENOSPC:
      return ExitError(ExitStatus::kNoSpace,
                       absl::StrCat(cannot,
                                    message.empty() ? TooLittleSpace(target)
                                                    : std::string(message),
                                    "; free some space (--punch does, if much "
                                    "of the store is dead)"));
    case EOPNOTSUPP:
      return ExitError(
          ExitStatus::kRefused,
          absl::StrCat(cannot, message.empty()
                                   ? "the disk cannot punch holes; leave out "
                                     "--punch"
                                   : message));
    case ENOTTY:
      return ExitError(
          ExitStatus::kRefused,
          absl::StrCat(cannot,
                       "the version of its daemon does not support that; "
                       "unmount and mount it again"));
    case ENOTCONN:
    case ECONNABORTED:
      return ExitError(
          ExitStatus::kFailure,
          absl::StrCat("the daemon of the mount ", target.name(),
                       " is gone; nothing is lost: mount the store again"));
    default:
      break;
  }
  return ErrorWithNumber(number, absl::StrCat(cannot, TextOf(number, message)));
}

absl::Status Failure(CompactionTarget& target, const absl::Status& status) {
  return Failure(target, fs::ErrnoOf(status), status.message());
}

void Remark(absl::string_view sentence) {
  fputs(absl::StrCat("varve: ", Printable(sentence), "\n").c_str(), stderr);
}

// Shows progress until the compaction has ended, and cancels it on a signal.
absl::StatusOr<varve_compaction_progress> Follow(CompactionTarget& target,
                                                 bool joined,
                                                 StopSignals& signals) {
  if (joined) {
    Remark(absl::StrCat("a compaction of ", target.name(),
                        " is running already; this waits for its end"));
  }
  Progress display("compacting");
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const varve_compaction_progress progress,
                           target.GetProgress());
    if (!fs::IsRunning(progress)) return progress;
    display.ShowInstead(
        [progress](size_t columns) { return ProgressBar(progress, columns); });
    if (!signals.Wait(kShowEvery)) continue;
    // A user who asks a second time does not want to wait.
    signals.Release();
    VARVE_RETURN_IF_ERROR(target.Cancel());
  }
}

absl::Status Run(CompactionTarget& target, const fs::CompactionOptions& options,
                 bool json, StopSignals& signals) {
  const absl::StatusOr<bool> joined = target.Start(options);
  if (!joined.ok()) return Failure(target, joined.status());
  const absl::StatusOr<varve_compaction_progress> end =
      Follow(target, *joined, signals);
  if (!end.ok()) return Failure(target, end.status());
  const CompactionReport report = {.store = target.store(),
                                   .mountpoint = target.mountpoint(),
                                   .forgets = options.forget,
                                   .joined = *joined};
  absl::Status status;
  if (end->result != 0) {
    status = Failure(target, static_cast<int>(end->result), end->message);
  }
  if (json) {
    status.Update(Print(ResultJson(report, *end)));
  } else if (status.ok()) {
    status = Print(ResultText(report, *end));
  }
  return status;
}

absl::Status Look(CompactionTarget& target, bool punch, bool json) {
  const absl::StatusOr<varve_statistics> statistics = target.GetStatistics();
  if (!statistics.ok()) return Failure(target, statistics.status());
  const CompactionReport report = {.store = target.store(),
                                   .mountpoint = target.mountpoint()};
  return Print(json ? OutlookJson(report, *statistics, punch)
                    : OutlookText(report, *statistics, punch));
}

absl::Status Compact(const Arguments& arguments) {
  fs::CompactionOptions options;
  options.punch = arguments.punch;
  options.forget = arguments.forget;
  if (arguments.limit.has_value()) {
    VARVE_ASSIGN_OR_RETURN(options.bytes_per_second,
                           ParseRate(*arguments.limit));
  }
  StopSignals signals;
  VARVE_ASSIGN_OR_RETURN(
      const std::unique_ptr<CompactionTarget> target,
      FindCompactionTarget(arguments.path, arguments.dry_run
                                               ? CompactionAccess::kLook
                                               : CompactionAccess::kCompact));
  absl::Status status = arguments.dry_run
                            ? Look(*target, arguments.punch, arguments.json)
                            : Run(*target, options, arguments.json, signals);
  status.Update(Explain(target->Close(), "cannot close the store"));
  return status;
}

}  // namespace

void AddCompactCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "compact", "Reclaim the space of deleted data", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("PATH", arguments->path,
                  "A store, or a directory where one is mounted")
      ->required();
  CLI::Option* const punch = command.add_flag(
      "--punch", arguments->punch,
      "Return dead space to the disk in place, without copying");
  command
      .add_option("--limit", arguments->limit,
                  "Copy at most RATE bytes per second")
      ->type_name("RATE")
      ->excludes(punch);
  command.add_flag("--forget", arguments->forget,
                   "Keep no past moments but snapshots");
  command.add_flag("-n,--dry-run", arguments->dry_run,
                   "Only report what it would reclaim and what it needs");
  command.add_flag("--json", arguments->json, "As JSON, at the end");
  OnCommand(command, action, std::move(arguments), &Compact);
}

}  // namespace varve::tools
