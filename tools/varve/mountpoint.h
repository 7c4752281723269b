// What has to be true of store and directory before a mount is tried.
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

// Whether FUSE can be used by this process at all.
absl::Status CheckFuse();

// The absolute path of the store, without symbolic links. It need not exist if
// `may_create`, but its directory has to. That it is a store is not checked.
absl::StatusOr<std::string> FindStore(const std::string& path, bool may_create);

// The absolute path of the directory to mount at, without symbolic links. If it
// is a mount of ours that has lost its daemon, that is cleaned away, provided
// that nobody holds the store of that mount open any more.
absl::StatusOr<std::string> PrepareMountpoint(const std::string& directory,
                                              const std::string& store);

// The store must not lie in `directory`, where the mount would hide it. Both
// as returned by the functions above.
absl::Status CheckStoreIsOutside(const std::string& store,
                                 const std::string& directory);

// What a mount at `directory` will hide, a sentence each; empty if nothing.
std::vector<std::string> WhatWillBeHidden(const std::string& directory);

// The mount of ours that is visible at `directory`, which may be a link. Asks
// no daemon, so that one that hangs holds up nobody.
absl::StatusOr<MountInfo> FindOwnMount(const std::string& directory);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNTPOINT_H_
