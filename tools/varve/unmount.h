// Taking mounts away, and finding out about the daemons behind them.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_UNMOUNT_H_
#define VARVE_TOOLS_VARVE_UNMOUNT_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace varve::tools {

enum class UnmountMode {
  kClean,  // fails with ExitStatus::kBusy while somebody is using it
  kLazy,   // out of sight at once; gone when the last user is
};

// Unmounts what is visible at `directory` (absolute): by system call as root,
// else through fusermount3. Works for dead mounts, too.
absl::Status Unmount(const std::string& directory, UnmountMode mode);

// Whether the mount at `directory` has lost its daemon.
bool IsDeadMount(const std::string& directory);

// The process that serves the living mount of ours at `directory`, as its
// status says. Nothing if that cannot be read, or if no such process of ours
// is to be seen from here.
std::optional<pid_t> DaemonOf(const std::string& directory);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_UNMOUNT_H_
