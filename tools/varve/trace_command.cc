// varve trace

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "engine/base/descriptor.h"
#include "engine/base/status.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mount_answer.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/mountpoint.h"
#include "tools/varve/unix_address.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kDetails[] =
    R"(Shows each request that a mount answers from now on: its time, the process that
made it, its kind, the path, the result, and how long it took. Calls that the
kernel answers from its cache are not requests. Ctrl-C ends it, and so does
unmounting, which it does not hold up. For root and the user of the daemon only.

Requests never wait for this command. If it cannot keep up, it says how many
requests it has left out.

Example:
  varve trace ~/photos
  varve trace --op open --op read --slower-than 10ms ~/photos
)";

struct Arguments {
  std::string directory;
  std::optional<uint32_t> pid;
  std::vector<std::string> operations;
  std::string slower_than;
  bool json = false;
};

// The longest head of the daemon's answer that is accepted.
constexpr size_t kMaxHead = 4096;

// Output is not buffered, so there is nothing left to do.
void OnEndSignal(int) { _exit(static_cast<int>(ExitStatus::kOk)); }

// From now on, signals that abort other commands are the usual way to end this
// one.
void EndBySignals() {
  struct sigaction action = {};
  action.sa_handler = OnEndSignal;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    sigaction(number, &action, nullptr);
  }
}

// "/trace?…"
absl::StatusOr<std::string> TargetFor(const Arguments& arguments) {
  std::vector<std::string> members;
  if (arguments.pid.has_value()) {
    members.push_back(absl::StrCat("pid=", *arguments.pid));
  }
  for (const std::string& operation : arguments.operations) {
    for (const char c : operation) {
      if ((c < 'a' || c > 'z') && c != '_') {
        return ExitError(
            ExitStatus::kUsage,
            absl::StrCat("no kind of request is called ", operation));
      }
    }
    members.push_back(absl::StrCat("op=", operation));
  }
  absl::Duration least;
  if (!arguments.slower_than.empty()) {
    if (!absl::ParseDuration(arguments.slower_than, &least) ||
        least < absl::ZeroDuration()) {
      return ExitError(ExitStatus::kUsage,
                       "--slower-than needs a time with its unit, as 10ms");
    }
    members.push_back(
        absl::StrCat("slower_ns=", absl::ToInt64Nanoseconds(least)));
  }
  return absl::StrCat("/trace?", absl::StrJoin(members, "&"));
}

// A connection to any of the addresses.
absl::StatusOr<Descriptor> Connect(const std::string& addresses) {
  int error = ENOENT;
  for (const absl::string_view text :
       absl::StrSplit(addresses, '\n', absl::SkipEmpty())) {
    const auto address = ParseUnixAddress(text);
    Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd.valid()) return SystemError(errno, "cannot make a socket");
    if (!address.has_value()) continue;
    if (connect(fd.get(), address->get(), address->size) == 0) return fd;
    error = errno;
  }
  return SystemError(error,
                     "cannot reach the daemon; if it runs in another network "
                     "namespace, mount with -o metrics=PATH");
}

// Formats one line for people; returns it as it is if it is malformed.
std::string ToText(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Printable(line) + "\n";
  if (json.contains("lost")) {
    return absl::StrCat("(", json["lost"].dump(), " requests were left out)\n");
  }
  const auto text = [&json](const char* name) {
    const auto it = json.find(name);
    return it != json.end() && it->is_string()
               ? Printable(it->get<std::string>())
               : std::string();
  };
  const std::string time = text("time");
  const std::string target = text("target");
  const uint64_t bytes = json.value("bytes", uint64_t{0});
  return absl::StrFormat(
      "%s %6d %-15s %-11s %-7s %9.3f ms  %s%s%s\n",
      time.substr(std::min<size_t>(time.find('T') + 1, time.size()), 15),
      json.value("pid", 0), text("command"), text("op"), text("result"),
      1e3 * json.value("seconds", 0.0), text("path"),
      target.empty() ? "" : absl::StrCat(" -> ", target),
      bytes == 0 ? "" : absl::StrCat(" (", bytes, " bytes)"));
}

// Takes what comes, until it ends.
class Stream {
 public:
  explicit Stream(Descriptor fd) : fd_(std::move(fd)) {}

  // The head of the answer must report success.
  absl::Status ReadHead() {
    size_t end;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      VARVE_ASSIGN_OR_RETURN(const bool more, ReadMore());
      if (!more || buffer_.size() > kMaxHead) {
        return absl::UnavailableError("the daemon has hung up");
      }
    }
    const std::string head = buffer_.substr(0, end);
    buffer_.erase(0, end + 4);
    if (absl::StrContains(head, " 200 ")) return absl::OkStatus();
    return ExitError(
        absl::StrContains(head, " 403 ") ? ExitStatus::kNoPermission
                                         : ExitStatus::kRefused,
        absl::StrCat("the daemon refuses: ", head.substr(0, head.find('\r'))));
  }

  // The next whole lines; none at the end.
  absl::StatusOr<std::vector<std::string>> Next() {
    size_t end;
    while ((end = buffer_.rfind('\n')) == std::string::npos) {
      VARVE_ASSIGN_OR_RETURN(const bool more, ReadMore());
      if (!more) return std::vector<std::string>();
    }
    std::vector<std::string> lines =
        absl::StrSplit(buffer_.substr(0, end), '\n', absl::SkipEmpty());
    buffer_.erase(0, end + 1);
    return lines;
  }

 private:
  // Returns false at the end.
  absl::StatusOr<bool> ReadMore() {
    char bytes[size_t{64} << 10];
    const ssize_t got = recv(fd_.get(), bytes, sizeof(bytes), 0);
    if (got > 0) buffer_.append(bytes, static_cast<size_t>(got));
    if (got >= 0) return got > 0;
    if (errno == ECONNRESET) return false;
    return SystemError(errno, "cannot read from the daemon");
  }

  const Descriptor fd_;
  std::string buffer_;
};

absl::Status Trace(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const MountInfo mount,
                         FindOwnMount(arguments.directory));
  VARVE_ASSIGN_OR_RETURN(const std::string target, TargetFor(arguments));
  VARVE_ASSIGN_OR_RETURN(const std::string addresses,
                         AskControlFile(mount.directory, "trace"));
  VARVE_ASSIGN_OR_RETURN(Descriptor fd, Connect(addresses));
  VARVE_RETURN_IF_ERROR(
      WriteAll(fd.get(), absl::StrCat("GET ", target, " HTTP/1.0\r\n\r\n"),
               "to the daemon"));
  EndBySignals();
  Stream stream(std::move(fd));
  VARVE_RETURN_IF_ERROR(stream.ReadHead());
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const std::vector<std::string> lines, stream.Next());
    if (lines.empty()) return absl::OkStatus();
    std::string text;
    for (const std::string& line : lines) {
      absl::StrAppend(&text, arguments.json ? line + "\n" : ToText(line));
    }
    VARVE_RETURN_IF_ERROR(Print(text));
  }
}

}  // namespace

void AddTraceCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "trace", "Follow each request to a mount", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("DIR", arguments->directory,
                  "The directory where a store is mounted")
      ->required();
  command.add_option("--pid", arguments->pid, "Only those of this process")
      ->type_name("PID");
  command
      .add_option("--op", arguments->operations,
                  "Only those of this kind, such as lookup, open, read; may be "
                  "repeated")
      ->type_name("OP")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  command
      .add_option("--slower-than", arguments->slower_than,
                  "Only those that took at least so long, such as 10ms or 1.5s")
      ->type_name("TIME");
  command.add_flag("--json", arguments->json, "A line of JSON for each");
  OnCommand(command, action, std::move(arguments), &Trace);
}

}  // namespace varve::tools
