#include "tools/varve/mountpoint.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mount_answer.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/open_store.h"
#include "tools/varve/unmount.h"

namespace varve::tools {
namespace {

// A daemon that is being killed loses the kernel's connection a moment before
// its lock.
constexpr absl::Duration kWaitForOwner = absl::Seconds(5);

// Whether what is mounted at the directory, and on the way to it, answers.
absl::Status CheckAnswers(const std::string& directory) {
  return AskInTime(directory,
                   [&directory]() -> absl::StatusOr<std::string> {
                     struct statvfs info;
                     // What it answers does not matter here.
                     const int result = statvfs(directory.c_str(), &info);
                     return absl::StrCat(result);
                   })
      .status();
}

absl::Status ClearDeadMount(const std::string& directory) {
  VARVE_ASSIGN_OR_RETURN(const auto mounts, ReadMountInfo());
  const std::optional<MountInfo> mount = FindMountAt(mounts, directory);
  if (!mount.has_value() || !mount->is_varve()) {
    return ExitError(
        ExitStatus::kRefused,
        absl::StrCat(directory, " is a dead mount of ",
                     mount.has_value() ? mount->type : "unknown type",
                     " (its endpoint is not connected); unmount that first"));
  }
  VARVE_RETURN_IF_ERROR(CheckAnswers(DirectoryOf(mount->source)));
  const absl::Status status = WaitUntilUnlocked(mount->source, kWaitForOwner);
  if (!status.ok()) {
    return ExitError(ExitStatus::kBusy,
                     absl::StrCat(directory,
                                  " is a dead mount, left as it is because its "
                                  "owner may still be alive (",
                                  status.message(), "); `varve umount ",
                                  directory, "` takes it away"));
  }
  return Unmount(directory, UnmountMode::kLazy);
}

absl::Status ClearDeadMounts(const std::string& directory) {
  // Mounts can lie on top of each other.
  constexpr int kMaxStacked = 16;
  for (int i = 0; i < kMaxStacked && IsDeadMount(directory); ++i) {
    VARVE_RETURN_IF_ERROR(ClearDeadMount(directory));
  }
  return absl::OkStatus();
}

absl::Status CheckNotMounted(const std::string& directory,
                             const std::string& store) {
  VARVE_ASSIGN_OR_RETURN(const auto mounts, ReadMountInfo());
  const std::optional<MountInfo> mount = FindMountAt(mounts, directory);
  if (!mount.has_value() || !mount->is_varve() || mount->source != store) {
    return absl::OkStatus();
  }
  const std::optional<pid_t> pid = DaemonOf(directory);
  return ExitError(
      ExitStatus::kRefused,
      absl::StrCat(store, " is already mounted at ", directory,
                   pid.has_value() ? absl::StrCat(" by pid ", *pid) : ""));
}

// fusermount3 will require the same; this gives a better message.
absl::Status CheckOwnMountpoint(const std::string& directory,
                                const struct stat& info) {
  if (geteuid() == 0) return absl::OkStatus();
  const bool others = (info.st_mode & S_ISVTX) != 0 && info.st_uid != geteuid();
  if (!others && access(directory.c_str(), W_OK) == 0) return absl::OkStatus();
  return ExitError(
      ExitStatus::kNoPermission,
      absl::StrCat("mounting at ", directory,
                   " needs a directory of your own that you may write to"));
}

absl::Status Missing(const std::string& directory) {
  return ExitError(ExitStatus::kNotFound,
                   absl::StrCat(directory, " does not exist"));
}

}  // namespace

absl::Status CheckFuse() {
  if (access("/dev/fuse", F_OK) != 0) {
    return ExitError(ExitStatus::kNoFuse,
                     "FUSE is not available: there is no /dev/fuse (load the "
                     "kernel's module `fuse`, or pass the device into the "
                     "container)");
  }
  if (access("/dev/fuse", R_OK | W_OK) != 0) {
    return ExitError(ExitStatus::kNoPermission,
                     "permission denied for /dev/fuse");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FindStore(const std::string& path,
                                      bool may_create) {
  VARVE_RETURN_IF_ERROR(CheckAnswers(DirectoryOf(path)));
  const absl::StatusOr<std::string> real = RealPathOfLast(path);
  if (!real.ok()) {
    const int number = SystemErrorNumber(real.status()).value_or(0);
    if (number != ENOENT)
      return Annotate(real.status(), "cannot find the store");
    const bool has_directory = RealPath(DirectoryOf(path)).ok();
    return ExitError(
        ExitStatus::kNotFound,
        has_directory
            ? absl::StrCat("the store ", path, " is a link to nothing")
            : absl::StrCat("the directory of the store, ", DirectoryOf(path),
                           ", does not exist"));
  }
  struct stat info;
  if (stat(real->c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) {
      return ExitError(
          ExitStatus::kWrongKind,
          absl::StrCat(path, " is a directory; a store is a file"));
    }
    return real;
  }
  if (errno != ENOENT) {
    return SystemError(errno, absl::StrCat("cannot open ", path));
  }
  if (!may_create) {
    return ExitError(ExitStatus::kNotFound,
                     absl::StrCat("there is no store ", path));
  }
  return real;
}

absl::StatusOr<std::string> PrepareMountpoint(const std::string& directory,
                                              const std::string& store) {
  // Below, it is asked at many places, and without a limit.
  VARVE_RETURN_IF_ERROR(CheckAnswers(directory));
  absl::StatusOr<std::string> real = RealPathOfLast(directory);
  if (!real.ok()) {
    if (SystemErrorNumber(real.status()) != ENOENT) {
      return Annotate(real.status(), "cannot find the mountpoint");
    }
  } else {
    VARVE_RETURN_IF_ERROR(ClearDeadMounts(*real));
  }
  struct stat info;
  int error = ENOENT;
  if (real.ok()) {
    error = stat(real->c_str(), &info) == 0 ? 0 : errno;
    if (MeansDaemonIsGone(error)) {
      // The daemon died between the two checks.
      VARVE_RETURN_IF_ERROR(ClearDeadMounts(*real));
      error = stat(real->c_str(), &info) == 0 ? 0 : errno;
    }
  }
  if (error == ENOENT) {
    return ExitError(
        ExitStatus::kNotFound,
        absl::StrCat("the mountpoint ", directory, " does not exist"));
  }
  if (error != 0) {
    return SystemError(error,
                       absl::StrCat("cannot use the mountpoint ", directory));
  }
  if (!S_ISDIR(info.st_mode)) {
    return ExitError(
        ExitStatus::kWrongKind,
        absl::StrCat("the mountpoint ", directory, " is not a directory"));
  }
  VARVE_RETURN_IF_ERROR(CheckNotMounted(*real, store));
  VARVE_RETURN_IF_ERROR(CheckOwnMountpoint(*real, info));
  return real;
}

absl::Status CheckStoreIsOutside(const std::string& store,
                                 const std::string& directory) {
  struct stat mountpoint;
  if (stat(directory.c_str(), &mountpoint) != 0) {
    return SystemError(errno, absl::StrCat("cannot stat ", directory));
  }
  // By device and inode: a bind mount gives one directory several paths.
  std::string above = store;
  do {
    above = DirectoryOf(above);
    struct stat info;
    if (stat(above.c_str(), &info) == 0 && info.st_dev == mountpoint.st_dev &&
        info.st_ino == mountpoint.st_ino) {
      return ExitError(
          ExitStatus::kRefused,
          absl::StrCat("the store ", store, " lies inside the mountpoint ",
                       directory, ", which would hide it"));
    }
  } while (above != "/");
  return absl::OkStatus();
}

std::vector<std::string> WhatWillBeHidden(const std::string& directory) {
  const auto mounts = ReadMountInfo();
  if (mounts.ok()) {
    const auto mount = FindMountAt(*mounts, directory);
    if (mount.has_value() && mount->is_varve()) {
      return {absl::StrCat(mount->source, " is mounted at ", directory,
                           " already, and is hidden there until this mount is "
                           "taken away")};
    }
  }
  // If the directory cannot be read, let the mount itself decide.
  std::error_code error;
  if (std::filesystem::is_empty(directory, error) || error) return {};
  return {absl::StrCat(directory,
                       " is not empty; its contents are hidden until the store "
                       "is unmounted")};
}

absl::StatusOr<MountInfo> FindOwnMount(const std::string& directory) {
  // A slash at the end would lead to the root of the mount.
  const std::string path(WithoutTrailingSlashes(directory));
  VARVE_ASSIGN_OR_RETURN(const auto mounts, ReadMountInfo());
  // The kernel's list has real paths, so this one can be taken as it is. What
  // it lies in need not answer.
  std::optional<MountInfo> mount = FindMountAt(mounts, path);
  if (mount.has_value() && mount->is_varve()) return *mount;
  const absl::StatusOr<std::string> real =
      AskInTime(path, [&path] { return RealPathOfLast(path); });
  if (!real.ok()) {
    return ExitStatusOf(real.status()) == ExitStatus::kNotFound
               ? Missing(directory)
               : real.status();
  }
  mount = FindMountAt(mounts, *real);
  if (mount.has_value() && mount->is_varve()) return *mount;
  if (!mount.has_value() && access(real->c_str(), F_OK) != 0 &&
      errno == ENOENT) {
    return Missing(directory);
  }
  return ExitError(
      ExitStatus::kRefused,
      absl::StrCat(
          "no store is mounted at ", directory,
          mount.has_value()
              ? absl::StrCat(" (what is mounted there is ", mount->type, ")")
              : ""));
}

}  // namespace varve::tools
