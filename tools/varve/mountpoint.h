// Checks store and directory before mounting.
//
// Thread-safe: free functions without state. None of them starts a thread, so
// that they can be called before forking.

#ifndef VARVE_TOOLS_VARVE_MOUNTPOINT_H_
#define VARVE_TOOLS_VARVE_MOUNTPOINT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/varve/mountinfo.h"

namespace varve::tools {

// Checks whether this process can use FUSE at all.
absl::Status CheckFuse();

// The absolute path of the store, without symbolic links. If `may_create`, the
// store need not exist, but its directory must. Does not check that it is a
// store.
absl::StatusOr<std::string> FindStore(const std::string& path, bool may_create);

// The absolute path of the directory to mount at, without symbolic links. If a
// Varve mount there has lost its daemon, unmounts it, provided that no process
// has the store of that mount open any more. ExitStatus::kBusy if what is
// mounted there does not answer.
absl::StatusOr<std::string> PrepareMountpoint(const std::string& directory,
                                              const std::string& store);

// Checks that the store does not lie in `directory`, where the mount would hide
// it. Both are paths returned by the functions above.
absl::Status CheckStoreIsOutside(const std::string& store,
                                 const std::string& directory);

// A sentence for each thing that a mount at `directory` will hide.
std::vector<std::string> WhatWillBeHidden(const std::string& directory);

// The Varve mount that is visible at `directory`, which may be a link.
// ExitStatus::kRefused if there is none. Does not ask its daemon. Forks, as
// mount_answer.h does, so a hanging daemon cannot hold this up.
absl::StatusOr<MountInfo> FindOwnMount(const std::string& directory);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNTPOINT_H_
