// varve top

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "engine/base/descriptor.h"
#include "engine/base/status.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/metrics_reader.h"
#include "tools/varve/mount_answer.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/mountpoint.h"

namespace varve::tools {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr char kDetails[] =
    R"(Shows what a mount does, updated each second: requests by kind and how long
they take, bytes read and written, uncommitted bytes, the dead part of the
store, and a running compaction. Ctrl-C ends it. Half of the requests of a kind
took at most the time under p50, and 99 of a hundred at most that under p99;
times are powers of two of a microsecond.

If standard output is not a terminal, it shows one second, as with --once.

Example:
  varve top ~/photos
  varve top --once --json ~/photos
)";

struct Arguments {
  std::string directory;
  double interval_seconds = 1;
  bool once = false;
  bool json = false;
};

std::atomic<pid_t> child_to_end{0};

void OnEndSignal(int) {
  if (const pid_t child = child_to_end.load(); child > 0) kill(child, SIGKILL);
}

// Runs `body` on the alternate screen of the terminal, and leaves that screen
// whatever happens. `body` runs in a process of its own, because a process that
// waits for a mount that does not answer can only be killed.
absl::Status OnOwnPage(const std::function<absl::Status()>& body) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError(errno, "cannot fork");
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  VARVE_RETURN_IF_ERROR(Print("\x1b[?1049h\x1b[?25l"));
  const pid_t child = fork();
  if (child == 0) {
    const absl::Status status = body();
    // An error means that nobody listens any more.
    WriteAll(writer.get(), status.message(), "the parent").IgnoreError();
    _exit(static_cast<int>(ExitStatusOf(status)));
  }
  child_to_end.store(child);
  struct sigaction action = {};
  action.sa_handler = OnEndSignal;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    sigaction(number, &action, nullptr);
  }
  writer.Reset();
  const auto message = ReadSome(reader.get(), 4096, "the child");
  int state = 0;
  if (child > 0) waitpid(child, &state, 0);
  // The terminal may have gone.
  Print("\x1b[?25h\x1b[?1049l").IgnoreError();
  if (child < 0) return SystemError(EAGAIN, "cannot fork");
  // A signal is the usual way to end it.
  if (!WIFEXITED(state) || WEXITSTATUS(state) == 0) return absl::OkStatus();
  return ExitError(static_cast<ExitStatus>(WEXITSTATUS(state)),
                   message.ok() ? *message : "");
}

// As much of the text as fits on the terminal.
absl::Status Show(const std::string& text) {
  struct winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 2 ||
      size.ws_col < 1) {
    size.ws_row = 24;
    size.ws_col = 80;
  }
  std::string picture = "\x1b[H";
  int row = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (++row >= size.ws_row) break;
    absl::StrAppend(&picture, line.substr(0, size.ws_col), "\x1b[K\r\n");
  }
  return Print(picture + "\x1b[J");
}

std::string Time(double seconds) {
  if (seconds <= 0) return "-";
  if (seconds < 1e-3) return absl::StrFormat("%.0f us", seconds * 1e6);
  if (seconds < 1) return absl::StrFormat("%.1f ms", seconds * 1e3);
  return absl::StrFormat("%.1f s", seconds);
}

std::string Bytes(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) {
    bytes /= 1024;
    ++unit;
  }
  if (unit == 0) return absl::StrFormat("%.0f B", bytes);
  return absl::StrFormat("%.1f %s", bytes, units[unit]);
}

double DeadShare(const Metrics& metrics) {
  const double all = ValueOf(metrics, "varve_store_allocated_bytes");
  return all > 0 ? ValueOf(metrics, "varve_store_dead_bytes") / all : 0;
}

// The part of a running compaction that is done; 0 if none runs.
double CompactionShare(const Metrics& metrics) {
  const double planned = ValueOf(metrics, "varve_compaction_planned_bytes");
  if (planned <= 0) return 0;
  return std::min(1.0,
                  ValueOf(metrics, "varve_compaction_done_bytes") / planned);
}

std::string Lines(const std::string& directory, const Metrics& now,
                  const MountRates& rates) {
  std::string text = absl::StrFormat(
      "%s\n\nread %s/s  write %s/s  append %s/s  syncs %.1f/s (p99 %s)\n",
      Printable(directory), Bytes(rates.read_bytes_per_second),
      Bytes(rates.written_bytes_per_second),
      Bytes(rates.appended_bytes_per_second), rates.syncs_per_second,
      Time(rates.sync_p99_seconds));
  absl::StrAppendFormat(
      &text, "dirty %s  open files %.0f  in progress %.0f  errors %.1f/s\n",
      Bytes(ValueOf(now, "varve_dirty_bytes")),
      ValueOf(now, "varve_open_files"),
      ValueOf(now, "varve_requests_in_progress"), rates.errors_per_second);
  absl::StrAppendFormat(
      &text, "store %s  dead %.0f %%  memory %s",
      Bytes(ValueOf(now, "varve_store_bytes")), 100 * DeadShare(now),
      Bytes(ValueOf(now, "varve_memory_bytes{kind=\"anonymous\"}")));
  if (ValueOf(now, "varve_compaction_running") > 0) {
    absl::StrAppendFormat(&text, "  compacting %.0f %%",
                          100 * CompactionShare(now));
  }
  absl::StrAppendFormat(&text, "\n\n%-16s %12s %10s %10s\n", "request",
                        "per second", "p50", "p99");
  const auto add = [&text](const OperationRate& rate) {
    absl::StrAppendFormat(&text, "%-16s %12.1f %10s %10s\n", rate.name,
                          rate.per_second, Time(rate.p50_seconds),
                          Time(rate.p99_seconds));
  };
  add(rates.all);
  for (const OperationRate& rate : rates.operations) add(rate);
  return text;
}

Json ToJson(const std::string& directory, const Metrics& now,
            const MountRates& rates) {
  const auto rate = [](const OperationRate& of) {
    return Json{{"per_second", of.per_second},
                {"p50_seconds", of.p50_seconds},
                {"p99_seconds", of.p99_seconds}};
  };
  Json operations = Json::object();
  for (const OperationRate& one : rates.operations) {
    operations[one.name] = rate(one);
  }
  return {
      {"directory", directory},
      {"seconds", rates.seconds},
      {"requests", rate(rates.all)},
      {"operations", std::move(operations)},
      {"errors_per_second", rates.errors_per_second},
      {"read_bytes_per_second", rates.read_bytes_per_second},
      {"written_bytes_per_second", rates.written_bytes_per_second},
      {"appended_bytes_per_second", rates.appended_bytes_per_second},
      {"syncs_per_second", rates.syncs_per_second},
      {"sync_p99_seconds", rates.sync_p99_seconds},
      {"dirty_bytes", ValueOf(now, "varve_dirty_bytes")},
      {"open_files", ValueOf(now, "varve_open_files")},
      {"store_bytes", ValueOf(now, "varve_store_bytes")},
      {"dead_ratio", DeadShare(now)},
      {"compacting", ValueOf(now, "varve_compaction_running") > 0},
      {"compaction_ratio", CompactionShare(now)},
      {"memory_bytes", ValueOf(now, "varve_memory_bytes{kind=\"anonymous\"}")}};
}

// Shows one interval after the other, or just one.
absl::Status Watch(const std::string& directory, const Arguments& arguments,
                   bool live) {
  const auto interval = std::chrono::duration<double>(
      std::clamp(arguments.interval_seconds, 0.1, 3600.0));
  VARVE_ASSIGN_OR_RETURN(std::string text,
                         AskControlFile(directory, "metrics"));
  Clock::time_point then = Clock::now();
  Metrics before = ParseMetrics(text);
  do {
    // sleep: this interval is what is shown.
    std::this_thread::sleep_until(
        then + std::chrono::duration_cast<Clock::duration>(interval));
    const auto read = AskControlFile(directory, "metrics");
    if (!read.ok()) {
      const bool is_there = FindOwnMount(directory).ok();
      return is_there ? read.status() : absl::OkStatus();
    }
    const Clock::time_point now = Clock::now();
    Metrics after = ParseMetrics(*read);
    const MountRates rates = RatesBetween(
        before, after, std::chrono::duration<double>(now - then).count());
    if (arguments.json) {
      VARVE_RETURN_IF_ERROR(
          Print(JsonLine(ToJson(directory, after, rates)) + "\n"));
    } else {
      const std::string lines = Lines(directory, after, rates);
      VARVE_RETURN_IF_ERROR(live ? Show(lines) : Print(lines));
    }
    before = std::move(after);
    then = now;
  } while (!arguments.once && (live || arguments.json));
  return absl::OkStatus();
}

absl::Status Top(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const MountInfo mount,
                         FindOwnMount(arguments.directory));
  const bool live =
      !arguments.once && !arguments.json && isatty(STDOUT_FILENO) != 0;
  const auto watch = [&] { return Watch(mount.directory, arguments, live); };
  return live ? OnOwnPage(watch) : watch();
}

}  // namespace

void AddTopCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "top", "Watch what a mount does", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("DIR", arguments->directory,
                  "The directory where a store is mounted")
      ->required();
  command
      .add_option("--interval", arguments->interval_seconds,
                  "Seconds between updates; 1 by default")
      ->type_name("SECONDS");
  command.add_flag("--once", arguments->once, "Show one interval, and end");
  command.add_flag("--json", arguments->json,
                   "A line of JSON for each interval");
  OnCommand(command, action, std::move(arguments), &Top);
}

}  // namespace varve::tools
