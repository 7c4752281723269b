// Finding inodes and names, with the errors that POSIX has where there are
// none. Each may also return DATA_LOSS: a node of the tree is damaged.

#ifndef VARVE_FS_VOLUME_LOOKUP_H_
#define VARVE_FS_VOLUME_LOOKUP_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/log/core.h"

namespace varve::fs {

// ENOENT, ENOTDIR.
absl::StatusOr<LiveInode> FindDirectory(const Core& core, uint64_t ino)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// ENOENT, EISDIR, EINVAL.
absl::StatusOr<LiveInode> FindRegular(const Core& core, uint64_t ino)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// The inode of that name, "." and ".." among them. ENAMETOOLONG, ENOENT, and
// the errors of FindDirectory().
absl::StatusOr<LiveInode> FindNamed(const Core& core, uint64_t parent,
                                    absl::string_view name)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// A name in a directory, and what it is the name of; nothing if there is none.
struct FoundName {
  NamePlace place;
  LiveInode inode;
};
absl::StatusOr<std::optional<FoundName>> FindName(const Core& core,
                                                  const LiveInode& directory,
                                                  absl::string_view name)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// The number of the directory that a directory lies in; its own, of the root
// and of one that was removed.
uint64_t ParentOf(const LiveInode& directory);

// Whether the name may be given to something new in that directory. EEXIST,
// ENAMETOOLONG, EINVAL, EPERM for the name of the control directory, ENOENT in
// a directory that was removed, and the errors of FindDirectory().
absl::Status CheckFree(const Core& core, uint64_t parent,
                       absl::string_view name)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_LOOKUP_H_
