// Finds where else a file system is mounted: by bind mounts, and in other mount
// namespaces (containers, sandboxes). A file system lives until the last of its
// mounts is gone.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_MOUNT_HOLDERS_H_
#define VARVE_TOOLS_VARVE_MOUNT_HOLDERS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "tools/varve/mountinfo.h"

namespace varve::tools {

struct MountHolder {
  pid_t pid = 0;           // a process that sees the mount
  std::string command;     // its name
  std::string name_space;  // "mnt:[4026531841]"; empty for our own
  std::string directory;   // as that process sees it
};

// The mounts of the same file system as `mount`, which may itself be gone, with
// one process for each mount namespace. Leaves out namespaces whose processes
// cannot be examined from here, and namespaces without a process.
std::vector<MountHolder> FindMountHolders(const MountInfo& mount);

// "/b, and /mnt in the mount namespace mnt:[4026532400] of pid 77 (sleep)". If
// there are many, only the first ones. Empty if there are none.
std::string DescribeHolders(const std::vector<MountHolder>& holders);

// Whether the process has been stopped, by SIGSTOP or by a debugger.
bool IsStopped(pid_t pid);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNT_HOLDERS_H_
