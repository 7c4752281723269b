#include "fs/volume/lookup.h"

#include <errno.h>

#include "engine/base/status.h"
#include "fs/base/control_name.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

absl::Status CheckName(absl::string_view name) {
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (!IsValidName(name)) return PosixError(EINVAL);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<const Inode*> FindDirectory(const Core& core, uint64_t ino) {
  const Inode* inode = core.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  if (!inode->is_directory()) return PosixError(ENOTDIR);
  return inode;
}

absl::StatusOr<const Inode*> FindRegular(const Core& core, uint64_t ino) {
  const Inode* inode = core.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  if (inode->is_directory()) return PosixError(EISDIR);
  if (!inode->is_regular()) return PosixError(EINVAL);
  return inode;
}

absl::StatusOr<const Inode*> FindNamed(const Core& core, uint64_t parent,
                                       absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(const Inode* directory, FindDirectory(core, parent));
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (name == ".") return directory;
  if (name == "..") return directory->parent();
  const Inode* inode = core.tree.Lookup(*directory, name);
  if (inode == nullptr) return PosixError(ENOENT);
  return inode;
}

absl::Status CheckFree(const Core& core, uint64_t parent,
                       absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(const Inode* directory, FindDirectory(core, parent));
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (name == "." || name == ".." ||
      core.tree.Lookup(*directory, name) != nullptr) {
    return PosixError(EEXIST);
  }
  VARVE_RETURN_IF_ERROR(CheckName(name));
  // A directory that was removed while somebody is in it.
  if (directory->link_count == 0) return PosixError(ENOENT);
  if (parent == kRootIno && name == kControlName) return PosixError(EPERM);
  return absl::OkStatus();
}

}  // namespace varve::fs
