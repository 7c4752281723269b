// Finding inodes, with the errors that POSIX has where there is none.
//
// The inode that is returned stays as long as the tree's lock is held.

#ifndef VARVE_FS_VOLUME_LOOKUP_H_
#define VARVE_FS_VOLUME_LOOKUP_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/log/core.h"

namespace varve::fs {

// ENOENT, ENOTDIR.
absl::StatusOr<const Inode*> FindDirectory(const Core& core, uint64_t ino)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// ENOENT, EISDIR, EINVAL.
absl::StatusOr<const Inode*> FindRegular(const Core& core, uint64_t ino)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// The inode of that name, "." and ".." among them. ENAMETOOLONG, ENOENT, and
// the errors of FindDirectory().
absl::StatusOr<const Inode*> FindNamed(const Core& core, uint64_t parent,
                                       absl::string_view name)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// Whether the name may be given to something new in that directory. EEXIST,
// ENAMETOOLONG, EINVAL, EPERM for the name of the control directory, ENOENT in
// a directory that was removed, and the errors of FindDirectory().
absl::Status CheckFree(const Core& core, uint64_t parent,
                       absl::string_view name)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_LOOKUP_H_
