#include "tools/varve/unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/status.h"
#include "engine/io/lock_holder.h"
#include "fs/base/control_name.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/patience.h"

namespace varve::tools {
namespace {

// Shorter than the time after which Patience tells what it waits for.
constexpr absl::Duration kWriterTime = absl::Seconds(1);

absl::Status Busy(const std::string& directory) {
  return ExitError(
      ExitStatus::kBusy,
      absl::StrCat(directory, " is in use; `lsof ", directory,
                   "` shows by whom; --lazy unmounts it nevertheless, and "
                   "--force ends its daemon"));
}

struct Finished {
  int exit_status = 0;
  std::string error_output;
};

// Runs a program and waits for it.
absl::StatusOr<Finished> Run(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError(errno, "cannot fork");
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  pid_t child = 0;
  const int error =
      posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return ExitError(
        ExitStatus::kNoFuse,
        absl::StrCat("cannot run ", arguments[0], " (package fuse3)"));
  }
  writer.Reset();
  constexpr size_t kMaxOutput = size_t{64} << 10;
  VARVE_ASSIGN_OR_RETURN(std::string output,
                         ReadSome(reader.get(), kMaxOutput, arguments[0]));
  int state = 0;
  while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
  }
  return Finished{WIFEXITED(state) ? WEXITSTATUS(state) : 128,
                  std::move(output)};
}

absl::Status UnmountByHelper(const std::string& directory, UnmountMode mode) {
  if (mode == UnmountMode::kCutOff) {
    return ExitError(ExitStatus::kNoPermission,
                     absl::StrCat("only root may cut off the daemon of ",
                                  directory, ", which does not answer"));
  }
  std::vector<std::string> arguments = {"fusermount3", "-u"};
  if (mode == UnmountMode::kLazy) arguments.emplace_back("-z");
  arguments.emplace_back("--");
  arguments.push_back(directory);
  VARVE_ASSIGN_OR_RETURN(const Finished finished, Run(arguments));
  if (finished.exit_status == 0) return absl::OkStatus();
  // It gives the reason in words only, which are never translated.
  if (absl::StrContains(finished.error_output, "busy")) return Busy(directory);
  const bool forbidden =
      absl::StrContains(finished.error_output, "not permitted") ||
      absl::StrContains(finished.error_output, "not found in");
  return ExitError(
      forbidden ? ExitStatus::kNoPermission : ExitStatus::kFailure,
      absl::StrCat("cannot unmount ", directory, ": ",
                   Printable(absl::StripSuffix(finished.error_output, "\n"))));
}

bool IsOurs(pid_t pid) {
  const auto name = ReadHostFile(absl::StrCat("/proc/", pid, "/comm"));
  return name.ok() && *name == "varve\n";
}

int FlagsOf(UnmountMode mode) {
  switch (mode) {
    case UnmountMode::kClean:
      return UMOUNT_NOFOLLOW;
    case UnmountMode::kLazy:
      return UMOUNT_NOFOLLOW | MNT_DETACH;
    case UnmountMode::kCutOff:
      return UMOUNT_NOFOLLOW | MNT_DETACH | MNT_FORCE;
  }
  return UMOUNT_NOFOLLOW;
}

}  // namespace

absl::Status Unmount(const std::string& directory, UnmountMode mode) {
  if (geteuid() != 0) return UnmountByHelper(directory, mode);
  if (umount2(directory.c_str(), FlagsOf(mode)) == 0) return absl::OkStatus();
  if (errno == EBUSY) return Busy(directory);
  return SystemError(errno, absl::StrCat("cannot unmount ", directory));
}

bool IsDeadMount(const std::string& directory) {
  // The kernel would answer a stat from its cache, even for a dead mount.
  struct statvfs info;
  return statvfs(directory.c_str(), &info) != 0 && MeansDaemonIsGone(errno);
}

absl::StatusOr<std::string> ReadControlFile(const std::string& directory,
                                            absl::string_view name) {
  return ReadHostFile(JoinPath(JoinPath(directory, fs::kControlName), name));
}

DaemonState AskDaemon(const std::string& directory) {
  DaemonState state;
  if (IsDeadMount(directory)) {
    state.dead = true;
    return state;
  }
  const auto text = ReadControlFile(directory, "status.json");
  if (!text.ok()) return state;
  const nlohmann::json status =
      nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!status.is_object()) return state;
  const auto read_only = status.find("read_only");
  state.read_only = read_only != status.end() && *read_only == true;
  const auto pid = status.find("pid");
  if (pid == status.end() || !pid->is_number_integer()) return state;
  // In another container the pid may belong to another process.
  if (IsOurs(pid->get<pid_t>())) state.pid = pid->get<pid_t>();
  return state;
}

std::string Encode(const DaemonState& state) {
  return absl::StrCat(state.dead ? "dead" : "alive", " ",
                      state.read_only ? "ro" : "rw", " ",
                      state.pid.value_or(0));
}

DaemonState Decode(const std::string& text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  DaemonState state;
  pid_t pid = 0;
  if (words.size() != 3 || !absl::SimpleAtoi(words[2], &pid)) return state;
  state.dead = words[0] == "dead";
  state.read_only = words[1] == "ro";
  if (pid > 0) state.pid = pid;
  return state;
}

std::optional<pid_t> DaemonOf(const std::string& directory) {
  return AskDaemon(directory).pid;
}

std::optional<pid_t> WriterOf(const std::string& store) {
  // The store may lie in a mount that hangs, too.
  const Patience patience(kWriterTime);
  const auto answer = patience.Run(
      [&store]() -> absl::StatusOr<std::string> {
        VARVE_ASSIGN_OR_RETURN(const Descriptor file, OpenForReading(store));
        return absl::StrCat(FindLockHolder(file.get()).value_or(0));
      },
      [] { return std::string(); });
  pid_t pid = 0;
  if (!answer.ok() || !absl::SimpleAtoi(*answer, &pid) || pid == 0) {
    return std::nullopt;
  }
  return IsOurs(pid) ? std::make_optional(pid) : std::nullopt;
}

}  // namespace varve::tools
