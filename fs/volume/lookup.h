// Look-ups of inodes and names that return the errors of POSIX. Each may also
// return DATA_LOSS if a node of the tree is damaged.

#ifndef VARVE_FS_VOLUME_LOOKUP_H_
#define VARVE_FS_VOLUME_LOOKUP_H_

#include <cstdint>
#include <optional>
#include <string>

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

// The inode with this name in a directory; the name may be "." or "..".
// ENAMETOOLONG, ENOENT, and the errors of FindDirectory().
absl::StatusOr<LiveInode> FindNamed(const Core& core, uint64_t parent,
                                    absl::string_view name)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// A name in a directory, and its inode. FindName() returns nothing if there is
// no such name.
struct FoundName {
  NamePlace place;
  LiveInode inode;
};
absl::StatusOr<std::optional<FoundName>> FindName(const Core& core,
                                                  const LiveInode& directory,
                                                  absl::string_view name)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// The value of an extended attribute; ENODATA if the inode does not have it.
absl::StatusOr<std::string> FindXattr(const TreeReader& tree, uint64_t ino,
                                      absl::string_view name);

// The names of all extended attributes of an inode, each followed by a NUL.
// Those in the namespace trusted only if `trusted`.
absl::StatusOr<std::string> ListXattrNames(const TreeReader& tree, uint64_t ino,
                                           bool trusted);

// The namespace of attributes that only root sees.
inline constexpr absl::string_view kTrustedPrefix = "trusted.";

// The inode number of a directory's parent. The root, and a directory that was
// removed, are their own parents.
uint64_t ParentOf(const InodeItem& directory);

// OK if a new inode may get this name in the directory. Errors: EEXIST;
// ENAMETOOLONG; EINVAL; EPERM for the name of the control directory; ENOENT in
// a directory that was removed; those of FindDirectory().
absl::Status CheckFree(const Core& core, uint64_t parent,
                       absl::string_view name)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_LOOKUP_H_
