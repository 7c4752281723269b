#include "tools/varve/history_target.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/fuse/ioctl_history.h"
#include "tools/varve/compaction_target.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/host_tree.h"
#include "tools/varve/long_work.h"
#include "tools/varve/mount_answer.h"
#include "tools/varve/open_store.h"

namespace varve::tools {
namespace {

template <size_t N>
bool Put(const std::string& text, char (&field)[N]) {
  if (text.size() >= N || text.find('\0') != std::string::npos) return false;
  text.copy(field, N - 1);
  return true;
}

// The path in the tree, as the tree has it.
std::string Cleaned(absl::string_view path) {
  std::vector<absl::string_view> parts;
  for (const absl::string_view part :
       absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part != ".") parts.push_back(part);
  }
  return absl::StrJoin(parts, "/");
}

// The longest part of the path that exists, and what is behind it. What is to
// be restored may be gone, with its directory.
std::pair<std::string, std::string> SplitExisting(const std::string& path) {
  std::string existing = path;
  std::string rest;
  struct stat info;
  while (lstat(existing.c_str(), &info) != 0 &&
         (errno == ENOENT || errno == ENOTDIR)) {
    const std::string above = DirectoryOf(existing);
    if (above == existing) break;
    rest = JoinPath(LastPartOf(existing), rest);
    existing = above;
  }
  return {existing, rest};
}

absl::Status CallMount(const HistoryTarget& place, varve_history& call) {
  const Descriptor directory(
      open(place.mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) {
    return SystemError(errno, absl::StrCat("cannot open ", place.mountpoint));
  }
  if (ioctl(directory.get(), VARVE_IOC_HISTORY, &call) == 0) {
    return absl::OkStatus();
  }
  if (errno == EPERM) {
    return ExitError(ExitStatus::kNoPermission,
                     absl::StrCat(place.mountpoint,
                                  ": only root and the user who mounted it may "
                                  "change what is kept"));
  }
  if (errno == ENOTTY) {
    return ExitError(ExitStatus::kRefused,
                     absl::StrCat("the daemon of ", place.mountpoint,
                                  " is of a version that does not know this; "
                                  "unmount, and mount again"));
  }
  return SystemError(errno, absl::StrCat("cannot change ", place.mountpoint));
}

absl::Status CallStore(const HistoryTarget& place, varve_history& call) {
  fs::VolumeOptions options;
  options.auto_compaction = {.mode = fs::AutoCompaction::Mode::kNever};
  VARVE_ASSIGN_OR_RETURN(const auto volume,
                         OpenVolume(place.store, std::move(options)));
  absl::Status status = fs::CallHistory(*volume, call);
  status.Update(CloseVolume(*volume));
  return status;
}

}  // namespace

absl::StatusOr<HistoryTarget> FindHistoryTarget(const std::string& target,
                                                const std::string& path) {
  VARVE_RETURN_IF_ERROR(
      AskInTime(target, [&target]() -> absl::StatusOr<std::string> {
        return SplitExisting(target).first;
      }).status());
  const auto [existing, rest] = SplitExisting(target);
  struct stat info;
  const bool is_other_file = !rest.empty() &&
                             stat(existing.c_str(), &info) == 0 &&
                             !S_ISDIR(info.st_mode);
  if (is_other_file) {
    return ExitError(ExitStatus::kNotFound,
                     absl::StrCat("there is no store ", target));
  }
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<CompactionTarget> found,
                         FindCompactionTarget(rest.empty() ? target : existing,
                                              CompactionAccess::kLook));
  HistoryTarget place = {.store = found->store(),
                         .mountpoint = found->mountpoint()};
  VARVE_RETURN_IF_ERROR(Explain(found->Close(), "cannot close the store"));
  std::string inside;
  const bool is_store = stat(existing.c_str(), &info) == 0 &&
                        S_ISREG(info.st_mode) &&
                        IsSameFile(existing, place.store);
  if (!place.mountpoint.empty() && !is_store) {
    VARVE_ASSIGN_OR_RETURN(const std::string real, RealPathOfLast(existing));
    VARVE_ASSIGN_OR_RETURN(const std::string mount, RealPath(place.mountpoint));
    absl::string_view below = real;
    if (absl::ConsumePrefix(&below, mount)) inside = Cleaned(below);
  }
  place.path = Cleaned(JoinPath(JoinPath(inside, rest), path));
  return place;
}

absl::StatusOr<std::unique_ptr<fs::Volume>> OpenHistory(
    const HistoryTarget& place) {
  auto volume = OpenVolumeForReading(place.store);
  // Reading what has happened takes longer than opening the store.
  if (volume.ok()) ShowUntilOutput("reading " + LastPartOf(place.store));
  return volume;
}

absl::StatusOr<std::unique_ptr<varve_history>> MakeHistoryCall(
    uint32_t operation, const HistoryTexts& texts) {
  auto call = std::make_unique<varve_history>();
  memset(call.get(), 0, sizeof(*call));
  call->version = VARVE_IOCTL_VERSION;
  call->operation = operation;
  if (!Put(texts.name, call->name) || !Put(texts.at, call->at) ||
      !Put(texts.from, call->from) || !Put(texts.to, call->to)) {
    return ExitError(ExitStatus::kUsage,
                     "a name has at most 255 bytes, and a path 4095");
  }
  return call;
}

absl::Status ChangeHistory(const HistoryTarget& place, varve_history& call) {
  ShowUntilOutput(absl::StrCat(
      call.operation == VARVE_HISTORY_RESTORE ? "restoring in " : "changing ",
      LastPartOf(place.name())));
  const absl::Status called = place.mountpoint.empty() ? CallStore(place, call)
                                                       : CallMount(place, call);
  EndShown();
  VARVE_RETURN_IF_ERROR(called);
  if (call.result == 0) return absl::OkStatus();
  const auto number = static_cast<int>(call.result);
  const std::string message(call.message,
                            strnlen(call.message, sizeof(call.message)));
  return ExplainHistory(message.empty() ? SystemError(number, place.name())
                                        : ErrorWithNumber(number, message));
}

absl::Status ExplainHistory(const absl::Status& status) {
  const int number = fs::ErrnoOf(status);
  const std::string message(status.message());
  if (status.ok() || message.empty()) return status;
  switch (number) {
    case ENOENT:
      return ExitError(ExitStatus::kNotFound, message);
    case EROFS:
      return ExitError(ExitStatus::kReadOnly, message);
    case EINVAL:
      return ExitError(ExitStatus::kUsage, message);
    case EEXIST:
      return ExitError(ExitStatus::kExists, message);
    case EBUSY:
    case EISDIR:
    case ENOTDIR:
      return ExitError(ExitStatus::kRefused, message);
    default:
      return status;
  }
}

}  // namespace varve::tools
