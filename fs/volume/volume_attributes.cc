// Attributes, access times, symlinks, space.

#include <errno.h>
#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/volume/lookup.h"
#include "fs/volume/volume.h"

namespace varve::fs {

absl::StatusOr<Stat> Volume::GetAttributes(uint64_t ino) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  return inodes_.StatOf(inode);
}

bool Volume::NoteAccess(uint64_t ino) {
  return !read_only() && attributes_.NoteAccess(ino);
}

absl::Status Volume::DropPrivileges(uint64_t ino, bool drop_set_group_id) {
  return attributes_.DropPrivileges(ino, drop_set_group_id);
}

absl::Status Volume::SetSize(uint64_t ino, uint64_t size,
                             const Handle* handle) {
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(FindRegular(core_, ino).status());
  }
  if (handle != nullptr) {
    absl::MutexLock lock(&handle->inode->mu);
    handle->NoteChange();
    return writer_.Truncate(*handle->inode, size, options_.now());
  }
  // Hold the file open during the change.
  const std::shared_ptr<OpenInode> open = open_files_.Open(ino);
  absl::Status status;
  {
    absl::MutexLock lock(&open->mu);
    status = writer_.TruncateCommitted(*open, size, options_.now());
  }
  const absl::Status closed = CloseOne(*open);
  return status.ok() ? closed : status;
}

absl::StatusOr<Stat> Volume::SetAttributes(uint64_t ino,
                                           const AttributeRequest& request,
                                           const Handle* handle) {
  if (read_only()) return PosixError(EROFS);
  if (request.size.has_value()) {
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    VARVE_RETURN_IF_ERROR(SetSize(ino, *request.size, handle));
  }
  if (request.mode.has_value() || request.uid.has_value() ||
      request.gid.has_value() || request.drop_privileges ||
      request.atime.has_value() || request.mtime.has_value()) {
    VARVE_RETURN_IF_ERROR(attributes_.Commit(ino, request));
  }
  return GetAttributes(ino);
}

absl::StatusOr<std::string> Volume::ReadSymlink(uint64_t ino) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
    if (!inode.is_symlink()) return PosixError(EINVAL);
    if (inode.attributes.size > kMaxTargetSize) {
      VARVE_ASSIGN_OR_RETURN(const std::string path,
                             core_.ReaderOf(inode).PathOf(inode));
      return DamageError(
          absl::StrCat("symlink \"", path, "\": the target is too long"));
    }
  }
  VARVE_ASSIGN_OR_RETURN(const ReadReply target,
                         reader_.Read(ino, nullptr, 0, kMaxTargetSize));
  return target.Copy();
}

absl::StatusOr<SpaceInfo> Volume::GetSpace() {
  VARVE_ASSIGN_OR_RETURN(const SpaceOnDisk host, core_.store->Space());
  SpaceInfo info;
  info.host_total = host.total;
  info.host_free = host.free;
  info.host_available = host.available;
  info.store_bytes = core_.store->file_size();
  absl::ReaderMutexLock lock(&core_.tree_mu);
  info.live_bytes = core_.log_tree->live->totals().data_bytes;
  info.inodes = core_.log_tree->live->totals().inodes;
  return info;
}

}  // namespace varve::fs
