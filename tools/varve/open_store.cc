#include "tools/varve/open_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/log/store_identity.h"
#include "fs/monitor/measured_files.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/progress.h"

namespace varve::tools {
namespace {

// Where the store is mounted, for messages; nothing if that cannot be found
// out.
std::vector<std::string> WhereMounted(const std::string& path) {
  const absl::StatusOr<std::string> real = RealPath(path);
  const auto mounts = ReadMountInfo();
  if (!real.ok() || !mounts.ok()) return {};
  return MountpointsOf(*mounts, *real);
}

bool IsLocked(const absl::Status& status) {
  return SystemErrorNumber(status) == EWOULDBLOCK;
}

// The failure for a store that could not be opened.
absl::Status ExplainOpenError(const absl::Status& status,
                              const std::string& path) {
  if (IsLocked(status)) {
    const std::vector<std::string> directories = WhereMounted(path);
    return ExitError(
        ExitStatus::kBusy,
        directories.empty()
            ? std::string(status.message())
            : absl::StrCat(status.message(), "; it is mounted at ",
                           absl::StrJoin(directories, " and "),
                           ": use the files there, or unmount it first"));
  }
  switch (SystemErrorNumber(status).value_or(0)) {
    case ENOENT:
      return ExitError(ExitStatus::kNotFound,
                       absl::StrCat("there is no store ", path));
    case EISDIR:
      return ExitError(
          ExitStatus::kWrongKind,
          absl::StrCat(path, " is a directory; a store is a file"));
    case EINVAL:
      return ExitError(ExitStatus::kWrongKind,
                       absl::StrCat(path, " is not a regular file"));
    case EROFS:
      return ExitError(ExitStatus::kReadOnly,
                       absl::StrCat(path, " lies on a read-only file system"));
    default:
      return status;
  }
}

// The daemon of a mount that is just gone may still be closing the store, so it
// is worth waiting. Waiting for a mount that goes on would be in vain.
constexpr absl::Duration kLockWait = absl::Seconds(5);

absl::Duration LockWaitFor(const std::string& path) {
  return WhereMounted(path).empty() ? kLockWait : absl::ZeroDuration();
}

void PrintWarning(const std::string& text) {
  fputs(absl::StrCat("varve: warning: ", Printable(text), "\n").c_str(),
        stderr);
}

// The engine's message says everything.
absl::Status NotAStore(const absl::Status& status) {
  return ExitError(ExitStatus::kNotAStore, status.message());
}

// Whether the engine can open the store. Distinguishes a file that is no store
// from a store whose tree is damaged.
absl::Status CheckIsStore(const std::string& path) {
  OpenOptions options;
  options.mode = OpenMode::kRead;
  const absl::Status status = Store::Open(path, options).status();
  return absl::IsDataLoss(status) ? NotAStore(status) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& path,
                                                 OpenMode mode) {
  OpenOptions options;
  options.mode = mode;
  if (mode != OpenMode::kRead) options.lock_wait = LockWaitFor(path);
  const Progress progress(absl::StrCat("opening ", LastPartOf(path)));
  auto store = Store::Open(path, options);
  if (store.ok()) return store;
  if (absl::IsDataLoss(store.status())) return NotAStore(store.status());
  return ExplainOpenError(store.status(), path);
}

absl::StatusOr<std::unique_ptr<fs::Volume>> OpenVolume(
    const std::string& path, fs::VolumeOptions options) {
  const fs::Caller caller = CurrentCaller();
  options.root_uid = caller.uid;
  options.root_gid = caller.gid;
  if (!options.read_only && options.lock_wait == absl::ZeroDuration()) {
    options.lock_wait = LockWaitFor(path);
  }
  auto volume = [&] {
    const Progress progress(absl::StrCat("opening ", LastPartOf(path)));
    return fs::Volume::Open(path, std::move(options));
  }();
  if (volume.ok()) return volume;
  // The message says which moments there are.
  if (absl::IsNotFound(volume.status())) {
    if (!SystemErrorNumber(volume.status()).has_value()) {
      return ExitError(ExitStatus::kNotFound, volume.status().message());
    }
  } else if (absl::IsInvalidArgument(volume.status()) &&
             !SystemErrorNumber(volume.status()).has_value()) {
    return ExitError(ExitStatus::kUsage, volume.status().message());
  }
  if (fs::IsCutShort(volume.status())) return CutShort(volume.status());
  if (absl::IsDataLoss(volume.status())) {
    VARVE_RETURN_IF_ERROR(CheckIsStore(path));
    return Annotate(volume.status(), path);
  }
  return ExplainOpenError(volume.status(), path);
}

absl::StatusOr<std::unique_ptr<fs::Volume>> OpenVolumeForReading(
    const std::string& path, const std::string& at) {
  fs::VolumeOptions options;
  options.read_only = true;
  options.at = at;
  auto volume = OpenVolume(path, std::move(options));
  if (!volume.ok()) return volume;
  // There is no tree to examine.
  if (!(*volume)->cut_short().ok()) return CutShort((*volume)->cut_short());
  if (!(*volume)->closed_properly() && !IsInUse(path)) {
    PrintWarning(absl::StrCat(path, " ", kNotClosed));
  }
  return volume;
}

absl::Status CloseVolume(fs::Volume& volume) {
  const Progress progress(
      absl::StrCat("closing ", LastPartOf(volume.store().path())));
  return Explain(volume.Close(), "cannot close the store");
}

absl::Status CutShort(const absl::Status& status) {
  return ExitError(
      ExitStatus::kCutShort,
      absl::StrCat(status.message(),
                   ". What is left can be read with `varve "
                   "raw read`, or in a mount, which is read-only"));
}

bool IsInUse(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  // This takes no lock; the kernel reports which lock is in the way.
  struct flock lock = {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  return file.valid() && fcntl(file.get(), F_OFD_GETLK, &lock) == 0 &&
         lock.l_type != F_UNLCK;
}

absl::StatusOr<fs::RepairReport> RepairUnusedStore(const std::string& path) {
  // A read-only mount, such as that of a damaged store, holds no lock.
  const std::vector<std::string> directories = WhereMounted(path);
  if (!directories.empty()) {
    return ExitError(ExitStatus::kBusy,
                     absl::StrCat(path, " is mounted at ",
                                  absl::StrJoin(directories, " and "),
                                  ": unmount it first"));
  }
  // If it is not gone, the repair fails to take the lock.
  if (const absl::Status status = WaitUntilUnlocked(path, kLockWait);
      IsLocked(status)) {
    return ExplainOpenError(status, path);
  }
  fs::FileMeter meter;
  fs::MeasuredFiles files(*RealFileSystem(), meter);
  auto report = [&] {
    Progress progress(absl::StrCat("repairing ", LastPartOf(path)));
    progress.CountBytesBy([&meter] { return meter.bytes_appended.load(); });
    return fs::RepairStore(files, path);
  }();
  if (report.ok()) return report;
  if (absl::IsDataLoss(report.status())) return NotAStore(report.status());
  return ExplainOpenError(report.status(), path);
}

fs::Caller CurrentCaller() { return {.uid = geteuid(), .gid = getegid()}; }

absl::Status WaitUntilUnlocked(const std::string& path, absl::Duration limit) {
  // Closing the file releases the lock.
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<File> file,
                         RealFileSystem()->Open(path, OpenMode::kReadWrite, 0));
  return file->LockExclusive(limit);
}

}  // namespace varve::tools
