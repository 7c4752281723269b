#include "tools/varve/mount_answer.h"

#include <limits.h>
#include <sys/types.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/host_disk.h"
#include "tools/varve/mount_holders.h"
#include "tools/varve/patience.h"
#include "tools/varve/unmount.h"

namespace varve::tools {
namespace {

// The path from the root on, without looking at any part of it.
std::string Absolute(const std::string& path) {
  if (absl::StartsWith(path, "/")) return path;
  char current[PATH_MAX];
  if (getcwd(current, sizeof(current)) == nullptr) return path;
  return path == "." ? current : JoinPath(current, path);
}

// The Varve mount that `path` leads to: as the directory, a file in it, or its
// store. Nothing if a link hides it.
std::optional<MountInfo> MountOf(const std::string& path) {
  const std::string absolute = Absolute(path);
  const auto mounts = ReadMountInfo();
  if (!mounts.ok()) return std::nullopt;
  for (const MountInfo& mount : *mounts) {
    if (mount.is_varve() && mount.source == absolute) return mount;
  }
  std::optional<MountInfo> mount = MountAround(*mounts, absolute);
  if (mount.has_value() && !mount->is_varve()) mount.reset();
  return mount;
}

}  // namespace

std::string WhyNoAnswer(const MountInfo& mount) {
  const std::optional<pid_t> pid = WriterOf(mount.source);
  if (pid.has_value() && IsStopped(*pid)) {
    return absl::StrCat("the daemon of ", mount.directory, ", pid ", *pid,
                        ", is stopped (`kill -CONT ", *pid,
                        "` lets it go on, `varve umount --force ",
                        mount.directory, "` cuts it off)");
  }
  return absl::StrCat("the daemon of ", mount.directory,
                      pid.has_value() ? absl::StrCat(", pid ", *pid, ",") : "",
                      " does not answer (`varve umount --force ",
                      mount.directory, "` cuts it off)");
}

absl::StatusOr<std::string> AskInTime(
    const std::string& path,
    const std::function<absl::StatusOr<std::string>()>& work) {
  const Patience patience(kAnswerTime);
  auto answer = patience.Run(work, [&path] {
    const std::optional<MountInfo> mount = MountOf(path);
    return mount.has_value() ? WhyNoAnswer(*mount)
                             : absl::StrCat("a file system on the way to ",
                                            path, " does not answer");
  });
  if (!absl::IsDeadlineExceeded(answer.status())) return answer;
  return ExitError(ExitStatus::kBusy, answer.status().message());
}

absl::StatusOr<std::string> AskControlFile(const std::string& directory,
                                           absl::string_view name) {
  return AskInTime(directory, [&] { return ReadControlFile(directory, name); });
}

}  // namespace varve::tools
