#include "tools/varve/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "engine/base/status.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"

namespace varve::tools {
namespace {

// The duration for poll(2), rounded up, so that it does not return too early.
int Milliseconds(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return -1;
  return static_cast<int>(absl::ToInt64Milliseconds(
      std::clamp(duration + absl::Milliseconds(1), absl::ZeroDuration(),
                 absl::Milliseconds(std::numeric_limits<int>::max()))));
}

// The message on the pipe: the exit status as one byte, then result or message.
void SendResult(int fd, const absl::StatusOr<std::string>& result) {
  const absl::Status& status = result.status();
  std::string report(1, static_cast<char>(ExitStatusOf(status)));
  absl::StrAppend(&report,
                  result.ok() ? absl::string_view(*result) : status.message());
  // An error means that nobody listens any more.
  WriteAll(fd, report, "to the parent process").IgnoreError();
}

absl::StatusOr<std::string> Received(absl::string_view report) {
  if (report.empty()) {
    return ExitError(ExitStatus::kFailure, "a helper process was killed");
  }
  const auto exit_status = static_cast<ExitStatus>(report.front());
  if (exit_status == ExitStatus::kOk) return std::string(report.substr(1));
  return ExitError(exit_status, report.substr(1));
}

}  // namespace

Patience::Patience(absl::Duration timeout)
    : start_(absl::Now()), deadline_(start_ + timeout) {}

absl::Duration Patience::left() const {
  return std::max(deadline_ - absl::Now(), absl::ZeroDuration());
}

absl::Duration Patience::silence_left() const {
  return std::max(start_ + kSilence - absl::Now(), absl::ZeroDuration());
}

absl::Status Patience::WaitFor(int fd, const Why& why) const {
  bool said = false;
  while (true) {
    const absl::Duration limit =
        said ? left() : std::min(left(), silence_left());
    struct pollfd event = {fd, POLLIN, 0};
    const int count = poll(&event, 1, Milliseconds(limit));
    if (count > 0) return absl::OkStatus();
    if (count < 0 && errno != EINTR) return SystemError(errno, "cannot wait");
    if (count < 0) continue;
    if (left() == absl::ZeroDuration()) {
      return absl::DeadlineExceededError(why());
    }
    if (!said && silence_left() == absl::ZeroDuration()) {
      SayWaiting(why());
      said = true;
    }
  }
}

absl::StatusOr<std::string> Patience::Run(
    const std::function<absl::StatusOr<std::string>()>& work,
    const Why& why) const {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError(errno, "cannot fork");
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  // Otherwise both processes would write the buffered output.
  fflush(stdout);
  fflush(stderr);
  const pid_t child = fork();
  if (child < 0) return SystemError(errno, "cannot fork");
  if (child == 0) {
    signal(SIGPIPE, SIG_IGN);
    SendResult(writer.get(), work());
    _exit(0);
  }
  writer.Reset();
  if (const absl::Status status = WaitFor(reader.get(), why); !status.ok()) {
    // The child cannot die during an uninterruptible wait for the daemon's
    // answer. It will end later, by itself.
    kill(child, SIGKILL);
    return status;
  }
  constexpr size_t kMaxReport = size_t{64} << 10;
  VARVE_ASSIGN_OR_RETURN(
      const std::string report,
      ReadSome(reader.get(), kMaxReport, "a helper process"));
  waitpid(child, nullptr, 0);
  return Received(report);
}

void SayWaiting(const std::string& why) {
  const std::string line = absl::StrCat("varve: ", Printable(why), "\n");
  fputs(line.c_str(), stderr);
}

}  // namespace varve::tools
