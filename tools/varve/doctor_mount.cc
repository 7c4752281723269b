// The problems that a mount can have.

#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "tools/varve/compaction_report.h"
#include "tools/varve/doctor.h"
#include "tools/varve/host.h"
#include "tools/varve/host_disk.h"
#include "tools/varve/metrics_reader.h"
#include "tools/varve/mount_holders.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/patience.h"
#include "tools/varve/progress.h"
#include "tools/varve/unmount.h"
#include "tools/varve/version.h"

namespace varve::tools {
namespace {

using Json = nlohmann::json;

constexpr absl::Duration kAnswerTime = absl::Seconds(5);
constexpr uint64_t kLittleRoom = uint64_t{32} << 20;
constexpr uint64_t kMuchDead = uint64_t{16} << 20;

std::optional<MountInfo> FindMount(const std::string& path,
                                   Findings& findings) {
  constexpr char kMount[] = "mount";
  const auto real = RealPathOfLast(path);
  const auto mounts = ReadMountInfo();
  std::optional<MountInfo> mount;
  if (real.ok() && mounts.ok()) mount = FindMountAt(*mounts, *real);
  if (!mount.has_value() || !mount->is_varve()) {
    findings.Trouble(kMount,
                     mount.has_value()
                         ? "something else is mounted there"
                         : "nothing is mounted there, or there is nothing",
                     mount.has_value() ? "umount DIR && varve mount STORE DIR"
                                       : "varve mount STORE DIR");
    return std::nullopt;
  }
  std::vector<std::string> options;
  for (const auto& all : {mount->options, mount->super_options}) {
    for (const std::string& option : all) {
      // The other lines name users or files.
      if (!absl::StrContains(option, '=')) options.push_back(option);
    }
  }
  findings.Ok(kMount, absl::StrCat("a store is mounted there, with ",
                                   absl::StrJoin(options, ",")));
  return mount;
}

// Reports why the daemon does not answer, and how to get rid of it.
void NoAnswer(const MountInfo& mount, Findings& findings) {
  const std::optional<pid_t> pid = WriterOf(mount.source);
  if (pid.has_value() && IsStopped(*pid)) {
    findings.Trouble("daemon",
                     absl::StrCat("its daemon, pid ", *pid, ", is stopped"),
                     absl::StrCat("kill -CONT ", *pid));
    return;
  }
  findings.Trouble(
      "daemon",
      absl::StrCat("its daemon",
                   pid.has_value() ? absl::StrCat(", pid ", *pid, ",") : "",
                   " does not answer within ",
                   absl::FormatDuration(kAnswerTime)),
      "wait for the disk of the store (dmesg shows its errors), or give up "
      "what is not written: varve umount --force DIR");
}

// The daemon's status and, on further lines, its metrics. Returns nothing if it
// does not answer; the findings then say why.
std::optional<std::string> Ask(const MountInfo& mount, Findings& findings) {
  // A mount that hangs would hang any process that asks it.
  const Patience patience(kAnswerTime);
  const auto answer = patience.Run(
      [&mount]() -> absl::StatusOr<std::string> {
        if (IsDeadMount(mount.directory)) return "dead";
        auto status = ReadControlFile(mount.directory, "status.json");
        if (!status.ok()) return status;
        const auto metrics = ReadControlFile(mount.directory, "metrics");
        return absl::StrCat(absl::StripSuffix(*status, "\n"), "\n",
                            metrics.ok() ? *metrics : "");
      },
      [] { return "the daemon of DIR has not answered yet"; });
  if (!answer.ok() && absl::IsDeadlineExceeded(answer.status())) {
    NoAnswer(mount, findings);
    return std::nullopt;
  }
  if (answer.ok() && *answer == "dead") {
    findings.Trouble("daemon",
                     "its daemon has ended without unmounting: \"Transport "
                     "endpoint is not connected\"",
                     "varve umount DIR && varve mount STORE DIR");
    return std::nullopt;
  }
  if (!answer.ok()) {
    findings.Trouble(
        "daemon",
        absl::StrCat("its status cannot be read: ",
                     WithoutNames(std::string(answer.status().message()),
                                  {mount.directory}, "DIR")),
        "become the user who has mounted it, or root");
    return std::nullopt;
  }
  return *answer;
}

uint64_t NumberOf(const Json& status, const char* name) {
  const auto found = status.find(name);
  return found != status.end() && found->is_number_unsigned()
             ? found->get<uint64_t>()
             : 0;
}

std::string TextOf(const Json& status, const char* name) {
  const auto found = status.find(name);
  return found != status.end() && found->is_string() ? found->get<std::string>()
                                                     : "";
}

void ExamineVersion(const Json& status, Findings& findings) {
  const std::string version = TextOf(status, "version");
  findings.Ok("daemon",
              absl::StrCat("its daemon, pid ", NumberOf(status, "pid"),
                           ", answers, by ", TextOf(status, "transport")));
  if (version == kVersion) {
    findings.Ok("version",
                absl::StrCat("daemon and command are Varve ", version));
  } else {
    findings.Trouble("version",
                     absl::StrCat("the daemon is Varve ", version,
                                  ", and the command ", kVersion),
                     "varve umount DIR && varve mount STORE DIR");
  }
}

void ExamineWriting(const MountInfo& mount, const Json& status,
                    Findings& findings) {
  constexpr char kReadOnly[] = "read-only";
  const std::string reason = TextOf(status, "read_only_reason");
  const auto read_only = status.find("read_only");
  if (!reason.empty()) {
    findings.Trouble(
        kReadOnly,
        absl::StrCat("it serves only reads: ",
                     WithoutNames(reason, {mount.source}, "STORE")),
        "save what can be read, varve umount DIR, varve check "
        "STORE");
  } else if (mount.read_only ||
             (read_only != status.end() && *read_only == true)) {
    findings.Note(kReadOnly, "it is mounted read-only",
                  "varve umount DIR && varve mount STORE DIR");
  } else {
    findings.Ok(kReadOnly, "it can be written to");
  }
  if (!mount.read_only && LiesOnReadOnlyDisk(mount.source)) {
    findings.Trouble("host",
                     "the disk of the store has become read-only, so programs "
                     "get \"Read-only file system\", and the store cannot be "
                     "closed",
                     kMendReadOnlyDisk);
  }
  const std::string place = TextOf(status, "store_file");
  if (absl::StartsWith(place, "deleted")) {
    findings.Trouble("store-file", "the store was deleted while mounted",
                     "cp -a DIR/. to another place before it is unmounted");
  } else if (!place.empty() && place != "in place") {
    findings.Trouble("store-file",
                     "the store was moved or replaced while it is mounted",
                     "find the file that was moved; varve umount DIR, and "
                     "mount that");
  }
  if (NumberOf(status, "scrub_found_damaged") > 0) {
    findings.Trouble("scrub",
                     absl::StrCat(NumberOf(status, "scrub_found_damaged"),
                                  " entries are damaged"),
                     "varve check STORE says which files they are in");
  }
}

void ExamineSpace(const Json& status, Findings& findings) {
  const uint64_t free = NumberOf(status, "host_free_bytes");
  if (free < kLittleRoom) {
    findings.Trouble("room",
                     absl::StrCat("the disk of the store is full: ",
                                  HumanBytes(free), " are left"),
                     "varve compact --punch DIR, or delete files in DIR or "
                     "beside the store");
  } else {
    findings.Ok("room",
                absl::StrCat(HumanBytes(free), " are left beside the store"));
  }
  const uint64_t all = NumberOf(status, "store_bytes");
  const uint64_t needed =
      NumberOf(status, "live_bytes") + NumberOf(status, "history_bytes");
  const uint64_t dead = all > needed ? all - needed : 0;
  const std::string text =
      absl::StrCat(HumanBytes(dead), " of ", HumanBytes(all), " are dead");
  if (dead >= kMuchDead && dead >= all / 2) {
    findings.Trouble("dead", text, "varve compact DIR");
  } else {
    findings.Ok("dead", text);
  }
}

void ExamineErrors(const std::string& text, Findings& findings) {
  constexpr char kErrors[] = "errors";
  constexpr char kPrefix[] = "varve_request_errors_total{errno=\"";
  const Metrics metrics = ParseMetrics(text);
  std::vector<std::string> serious;
  for (const auto& [name, count] : metrics) {
    absl::string_view number = name;
    if (count <= 0 || !absl::ConsumePrefix(&number, kPrefix)) continue;
    number = number.substr(0, number.find('"'));
    // Other errors come from what programs ask for.
    for (const char* const bad : {"EIO", "ENOSPC", "EDQUOT", "EROFS"}) {
      if (number == bad) {
        serious.push_back(
            absl::StrCat(static_cast<uint64_t>(count), " x ", number));
      }
    }
  }
  const double failures =
      ValueOf(metrics, "varve_store_append_failures_total") +
      ValueOf(metrics, "varve_store_sync_failures_total");
  if (failures > 0) {
    serious.push_back(absl::StrCat(static_cast<uint64_t>(failures),
                                   " writes to the store failed"));
  }
  if (serious.empty()) {
    findings.Ok(kErrors, "no request has failed because of the disk");
  } else {
    findings.Note(
        kErrors,
        absl::StrCat("since it was mounted: ", absl::StrJoin(serious, ", ")),
        "journalctl -t varve shows each");
  }
}

}  // namespace

void ExamineMount(const std::string& path, Findings& findings) {
  const std::optional<MountInfo> mount = FindMount(path, findings);
  if (!mount.has_value()) return;
  const std::optional<std::string> answer = Ask(*mount, findings);
  if (!answer.has_value()) return;
  const size_t end = answer->find('\n');
  const Json status = Json::parse(answer->substr(0, end), nullptr,
                                  /*allow_exceptions=*/false);
  if (!status.is_object()) {
    findings.Trouble("daemon", "its status cannot be understood",
                     "varve umount DIR && varve mount STORE DIR");
    return;
  }
  ExamineVersion(status, findings);
  ExamineWriting(*mount, status, findings);
  ExamineSpace(status, findings);
  ExamineErrors(answer->substr(end + 1), findings);
}

}  // namespace varve::tools
