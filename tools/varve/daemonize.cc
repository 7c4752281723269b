#include "tools/varve/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"

namespace varve::tools {
namespace {

// The message on the pipe: the exit status as one byte, then the text.
absl::Status Send(int fd, const absl::Status& status) {
  std::string report(1, static_cast<char>(ExitStatusOf(status)));
  report.append(status.message().data(), status.message().size());
  return WriteAll(fd, report, "to the parent process");
}

absl::Status Received(absl::string_view report) {
  const auto exit_status = static_cast<ExitStatus>(report.front());
  if (exit_status == ExitStatus::kOk) return absl::OkStatus();
  return ExitError(exit_status, report.substr(1));
}

absl::Status UseNoTerminal() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return SystemError(errno, "cannot open /dev/null");
  const Descriptor owner(null);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (dup2(null, fd) < 0) return SystemError(errno, "cannot use /dev/null");
  }
  return absl::OkStatus();
}

// Closes all descriptors above standard error except the pipe, whose new number
// it returns. The daemon must not keep descriptors of the caller's shell.
int KeepOnly(int pipe_end) {
  constexpr int kPlace = STDERR_FILENO + 1;
  if (pipe_end != kPlace) dup3(pipe_end, kPlace, O_CLOEXEC);
  close_range(kPlace + 1, UINT_MAX, 0);
  return kPlace;
}

[[noreturn]] void RunChild(
    int pipe_end,
    const std::function<absl::Status(std::function<absl::Status()> ready)>&
        serve) {
  setsid();
  signal(SIGPIPE, SIG_IGN);  // the parent may be gone
  Descriptor pipe(KeepOnly(pipe_end));
  bool was_ready = false;
  const auto ready = [&]() -> absl::Status {
    was_ready = true;
    VARVE_RETURN_IF_ERROR(UseNoTerminal());
    absl::Status sent = Send(pipe.get(), absl::OkStatus());
    pipe.Reset();
    return sent;
  };
  absl::Status status = serve(ready);
  if (!was_ready) {
    if (status.ok()) {
      status = ExitError(ExitStatus::kFailure,
                         "stopped before the mount was usable");
    }
    // If nobody listens, there is nobody to tell.
    Send(pipe.get(), status).IgnoreError();
  }
  exit(static_cast<int>(ExitStatusOf(status)));
}

absl::Status DeathOf(pid_t child) {
  int state = 0;
  if (waitpid(child, &state, 0) == child && WIFSIGNALED(state)) {
    return ExitError(
        ExitStatus::kFailure,
        absl::StrCat("the daemon was killed by signal ", WTERMSIG(state),
                     " before the mount was usable"));
  }
  return ExitError(ExitStatus::kFailure,
                   "the daemon ended before the mount was usable");
}

}  // namespace

absl::Status RunDetached(
    const std::function<absl::Status(std::function<absl::Status()> ready)>&
        serve) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError(errno, "cannot fork");
  Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  // Otherwise both processes would write the buffered output.
  fflush(stdout);
  fflush(stderr);
  const pid_t child = fork();
  if (child < 0) return SystemError(errno, "cannot fork");
  if (child == 0) RunChild(writer.get(), serve);
  writer.Reset();
  constexpr size_t kMaxReport = size_t{64} << 10;
  const absl::StatusOr<std::string> report =
      ReadSome(reader.get(), kMaxReport, "the daemon");
  if (!report.ok()) return report.status();
  return report->empty() ? DeathOf(child) : Received(*report);
}

}  // namespace varve::tools
