#include "tools/varve/remount.h"

#include <errno.h>
#include <sys/mount.h>
#include <unistd.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mount_answer.h"
#include "tools/varve/mount_options.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/mountpoint.h"
#include "tools/varve/unmount.h"

namespace varve::tools {
namespace {

void Change(unsigned long& flags, absl::string_view option) {
  const std::optional<KernelFlag> flag = KernelFlagOf(option);
  if (!flag.has_value()) return;
  flags = flag->on ? flags | flag->bit : flags & ~flag->bit;
}

}  // namespace

unsigned long FlagsAfter(absl::Span<const std::string> shown,
                         absl::Span<const std::string> changes) {
  unsigned long flags = 0;
  for (const std::string& option : shown) {
    // The options of the mount and of its file system both come in `shown`.
    // "rw" from one of them must not undo "ro" from the other.
    if (option != "rw") Change(flags, option);
  }
  for (const std::string& option : changes) Change(flags, option);
  return flags;
}

absl::Status Remount(const std::string& store, const std::string& directory,
                     absl::Span<const std::string> changes) {
  VARVE_ASSIGN_OR_RETURN(const MountInfo mount, FindOwnMount(directory));
  VARVE_ASSIGN_OR_RETURN(const std::string real, AskInTime(store, [&store] {
                           return RealPathOfLast(store);
                         }));
  if (mount.source != real) {
    return ExitError(ExitStatus::kRefused,
                     absl::StrCat("what is mounted at ", mount.directory,
                                  " is ", mount.source, ", not ", store));
  }
  if (geteuid() != 0) {
    return ExitError(ExitStatus::kNoPermission, "only root may remount");
  }
  std::vector<std::string> shown = mount.options;
  shown.insert(shown.end(), mount.super_options.begin(),
               mount.super_options.end());
  const unsigned long flags = FlagsAfter(shown, changes);
  const bool was_read_only = (FlagsAfter(shown, {}) & MS_RDONLY) != 0;
  // Remounting syncs the mount, and so waits for its daemon, too.
  VARVE_ASSIGN_OR_RETURN(
      const std::string state,
      AskInTime(mount.directory, [&mount]() -> absl::StatusOr<std::string> {
        return Encode(AskDaemon(mount.directory));
      }));
  if (was_read_only && (flags & MS_RDONLY) == 0 && Decode(state).read_only) {
    return ExitError(
        ExitStatus::kReadOnly,
        absl::StrCat("the daemon of ", mount.directory, " has opened ", store,
                     " for reading only; unmount it, and mount it again"));
  }
  if (::mount("none", mount.directory.c_str(), nullptr, MS_REMOUNT | flags,
              nullptr) == 0) {
    return absl::OkStatus();
  }
  if (errno == EBUSY) {
    return ExitError(
        ExitStatus::kBusy,
        absl::StrCat("files of ", mount.directory, " are open for writing"));
  }
  return SystemError(errno, absl::StrCat("cannot remount ", mount.directory));
}

}  // namespace varve::tools
