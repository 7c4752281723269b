#include "tools/varve/compaction_target.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/ioctl/ioctl_structs.h"
#include "fs/volume/volume.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mount_answer.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/open_store.h"

namespace varve::tools {
namespace {

class MountedTarget : public CompactionTarget {
 public:
  MountedTarget(Descriptor descriptor, const MountInfo& mount)
      : CompactionTarget(mount.source, mount.directory),
        descriptor_(std::move(descriptor)) {}

  absl::StatusOr<bool> Start(const fs::CompactionOptions& options) override {
    varve_compaction_start start = fs::ToIoctl(options);
    VARVE_RETURN_IF_ERROR(Call(VARVE_IOC_START_COMPACTION, &start));
    return start.joined != 0;
  }

  absl::StatusOr<varve_compaction_progress> GetProgress() override {
    varve_compaction_progress progress = {};
    VARVE_RETURN_IF_ERROR(Call(VARVE_IOC_GET_PROGRESS, &progress));
    return progress;
  }

  absl::Status Cancel() override { return Call(VARVE_IOC_CANCEL, nullptr); }

  absl::StatusOr<varve_statistics> GetStatistics() override {
    varve_statistics statistics = {};
    VARVE_RETURN_IF_ERROR(Call(VARVE_IOC_GET_STATISTICS, &statistics));
    return statistics;
  }

  absl::Status Close() override {
    descriptor_.Reset();
    return absl::OkStatus();
  }

 private:
  absl::Status Call(unsigned long command, void* argument) {
    if (ioctl(descriptor_.get(), command, argument) == 0) {
      return absl::OkStatus();
    }
    return ErrorWithNumber(errno, "");
  }

  Descriptor descriptor_;
};

class OpenedTarget : public CompactionTarget {
 public:
  OpenedTarget(std::unique_ptr<fs::Volume> volume, std::string store)
      : CompactionTarget(std::move(store), ""), volume_(std::move(volume)) {}

  ~OpenedTarget() override {
    // A caller that wants to know the result calls Close() itself.
    if (!closed_) volume_->Close().IgnoreError();
  }

  absl::StatusOr<bool> Start(const fs::CompactionOptions& options) override {
    VARVE_RETURN_IF_ERROR(volume_->compactions().Start(options));
    return false;
  }

  absl::StatusOr<varve_compaction_progress> GetProgress() override {
    return fs::ToIoctl(volume_->compactions().progress());
  }

  absl::Status Cancel() override {
    volume_->compactions().Cancel();
    return absl::OkStatus();
  }

  absl::StatusOr<varve_statistics> GetStatistics() override {
    VARVE_ASSIGN_OR_RETURN(const fs::StoreStatistics statistics,
                           volume_->GetStatistics());
    VARVE_ASSIGN_OR_RETURN(const fs::SpaceInfo space, volume_->GetSpace());
    return fs::ToIoctl(
        statistics, fs::AvailableBytes(space.host_total, space.host_available));
  }

  absl::Status Close() override {
    closed_ = true;
    return volume_->Close();
  }

 private:
  const std::unique_ptr<fs::Volume> volume_;
  bool closed_ = false;
};

// The mount on which a path or, if the path is empty, a descriptor lies.
absl::StatusOr<uint64_t> MountIdOf(int directory, const std::string& path) {
  struct statx info = {};
  const int flags = path.empty() ? AT_EMPTY_PATH : 0;
  if (statx(directory, path.c_str(), flags, STATX_TYPE | STATX_MNT_ID, &info) !=
      0) {
    return ErrorWithNumber(errno, "");
  }
  if ((info.stx_mask & STATX_MNT_ID) == 0) {
    return ExitError(ExitStatus::kFailure,
                     "this needs a kernel of version 5.8 or later");
  }
  return info.stx_mnt_id;
}

std::optional<MountInfo> FindById(const std::vector<MountInfo>& mounts,
                                  uint64_t id) {
  const auto found =
      std::find_if(mounts.begin(), mounts.end(),
                   [id](const MountInfo& mount) { return mount.id == id; });
  if (found == mounts.end()) return std::nullopt;
  return *found;
}

// Opens `path` if it lies on `mount`, and not on another one that hides it.
absl::StatusOr<Descriptor> OpenOn(const std::string& path,
                                  const MountInfo& mount) {
  Descriptor descriptor(
      open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!descriptor.valid()) return ErrorWithNumber(errno, "");
  VARVE_ASSIGN_OR_RETURN(const uint64_t id, MountIdOf(descriptor.get(), ""));
  if (id != mount.id) return ErrorWithNumber(ENOENT, "");
  return descriptor;
}

absl::Status IsDead(const std::string& path) {
  return ExitError(
      ExitStatus::kRefused,
      absl::StrCat("the daemon of the mount ", path,
                   " is gone; take the mount away by `varve umount ", path,
                   "`, and compact the store itself"));
}

// `path` lies on the mount, and `info` describes it.
absl::StatusOr<std::unique_ptr<CompactionTarget>> UseMountOf(
    const std::string& path, const struct stat& info, const MountInfo& mount) {
  // Opening a file may change its access time, and opening a device may do
  // more.
  absl::StatusOr<Descriptor> descriptor = OpenOn(mount.directory, mount);
  if (!descriptor.ok() && (S_ISDIR(info.st_mode) || S_ISREG(info.st_mode))) {
    descriptor = OpenOn(path, mount);
  }
  if (!descriptor.ok()) {
    const int number = SystemErrorNumber(descriptor.status()).value_or(0);
    if (MeansDaemonIsGone(number)) return IsDead(path);
    return Explain(descriptor.status(), absl::StrCat("cannot open ", path));
  }
  return std::make_unique<MountedTarget>(*std::move(descriptor), mount);
}

bool IsSameFile(const std::string& path, const struct stat& info) {
  struct stat other;
  return stat(path.c_str(), &other) == 0 && other.st_dev == info.st_dev &&
         other.st_ino == info.st_ino;
}

// The mount of the store at `real`, its real path; nothing if it is not
// mounted.
absl::StatusOr<std::unique_ptr<CompactionTarget>> UseMountOfStore(
    const std::string& real, const struct stat& info,
    const std::vector<MountInfo>& mounts) {
  std::vector<MountInfo> found;
  for (const MountInfo& mount : mounts) {
    // A bind mount or a hard link gives the store more than one path.
    if (mount.is_varve() &&
        (mount.source == real || IsSameFile(mount.source, info))) {
      found.push_back(mount);
    }
  }
  std::stable_partition(found.begin(), found.end(), [](const MountInfo& mount) {
    return !mount.read_only;
  });
  absl::Status status;
  for (const MountInfo& mount : found) {
    absl::StatusOr<Descriptor> descriptor = OpenOn(mount.directory, mount);
    if (descriptor.ok()) {
      return std::make_unique<MountedTarget>(*std::move(descriptor), mount);
    }
    const int number = SystemErrorNumber(descriptor.status()).value_or(0);
    if (MeansDaemonIsGone(number)) continue;
    status.Update(
        Explain(descriptor.status(),
                absl::StrCat("the store is mounted at ", mount.directory,
                             ", which cannot be opened")));
  }
  if (!status.ok()) return status;
  return std::unique_ptr<CompactionTarget>();
}

absl::StatusOr<std::unique_ptr<CompactionTarget>> OpenTarget(
    const std::string& path, CompactionAccess access) {
  fs::VolumeOptions options;
  options.read_only = access == CompactionAccess::kLook;
  options.auto_compaction = {.mode = fs::AutoCompaction::Mode::kNever};
  VARVE_ASSIGN_OR_RETURN(auto volume, OpenVolume(path, std::move(options)));
  return std::make_unique<OpenedTarget>(std::move(volume), path);
}

absl::Status CannotFind(const std::string& path, int number) {
  if (MeansDaemonIsGone(number)) return IsDead(path);
  if (number == ENOENT) {
    return ExitError(ExitStatus::kNotFound,
                     absl::StrCat("there is no store ", path));
  }
  return SystemError(number, absl::StrCat("cannot open ", path));
}

// The mount at, around or of `path`; nothing if it is a store that is not
// mounted. Asks daemons without a limit.
absl::StatusOr<std::unique_ptr<CompactionTarget>> FindMounted(
    const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return CannotFind(path, errno);
  VARVE_ASSIGN_OR_RETURN(const auto mounts, ReadMountInfo());
  VARVE_ASSIGN_OR_RETURN(const std::string real, RealPath(path));
  if (S_ISREG(info.st_mode)) {
    VARVE_ASSIGN_OR_RETURN(auto target, UseMountOfStore(real, info, mounts));
    if (target != nullptr) return target;
  }
  const absl::StatusOr<uint64_t> id = MountIdOf(AT_FDCWD, real);
  if (!id.ok()) {
    return Explain(id.status(),
                   absl::StrCat("cannot find the mount of ", path));
  }
  const std::optional<MountInfo> mount = FindById(mounts, *id);
  if (mount.has_value() && mount->is_varve()) {
    return UseMountOf(real, info, *mount);
  }
  if (S_ISDIR(info.st_mode)) {
    return ExitError(ExitStatus::kWrongKind,
                     absl::StrCat(path,
                                  " is a directory where no store is mounted; "
                                  "name a store, or where one is mounted"));
  }
  return std::unique_ptr<CompactionTarget>();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CompactionTarget>> FindCompactionTarget(
    const std::string& path, CompactionAccess access) {
  // A mount that does not answer would hold up this process for good.
  const auto find = [&path]() -> absl::StatusOr<std::string> {
    VARVE_RETURN_IF_ERROR(FindMounted(path).status());
    return std::string();
  };
  VARVE_RETURN_IF_ERROR(AskInTime(path, find).status());
  VARVE_ASSIGN_OR_RETURN(auto target, FindMounted(path));
  if (target != nullptr) return target;
  return OpenTarget(path, access);
}

}  // namespace varve::tools
