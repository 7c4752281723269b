// The disk that a store lies on, as the kernel's list of mounts has it. Asks
// neither the disk nor a daemon, so a disk that hangs holds up nobody.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_HOST_DISK_H_
#define VARVE_TOOLS_VARVE_HOST_DISK_H_

#include <optional>
#include <string>
#include <vector>

#include "tools/varve/mountinfo.h"

namespace varve::tools {

// The mount that `path` lies on or is the root of: an absolute path without
// symbolic links. Nothing if the list has none.
std::optional<MountInfo> MountAround(const std::vector<MountInfo>& mounts,
                                     const std::string& path);

// Whether nothing can be written to the file system of a mount, be it because
// it was mounted so, or because it had errors.
bool IsReadOnlyDisk(const MountInfo& mount);

// Whether `path`, absolute and without symbolic links, lies on such a one.
bool LiesOnReadOnlyDisk(const std::string& path);

// What to do about it, for `varve doctor`.
inline constexpr char kMendReadOnlyDisk[] =
    "mount -o remount,rw on its mountpoint (as root). If it became read-only "
    "by itself it had errors: dmesg; repair or replace it before";

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_HOST_DISK_H_
