// Attributes, extended attributes, symlinks, space.

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <utility>

#include "absl/strings/match.h"
#include "engine/status.h"
#include "fs/commit.h"
#include "fs/error.h"
#include "fs/volume.h"

namespace varve::fs {
namespace {

// What the kernel passes on in one list.
constexpr size_t kMaxXattrList = 65536;

constexpr absl::string_view kCapabilities = "security.capability";

// The mode without the bits that a write by an ordinary user takes away. A
// set-group-id bit without group execution means something else, and stays.
uint32_t WithoutPrivileges(uint32_t mode) {
  if (!S_ISREG(mode)) return mode;
  mode &= ~static_cast<uint32_t>(S_ISUID);
  if ((mode & S_IXGRP) != 0) mode &= ~static_cast<uint32_t>(S_ISGID);
  return mode;
}

bool HasCapabilities(const Inode& inode) {
  return inode.detail != nullptr &&
         inode.detail->xattrs.contains(std::string(kCapabilities));
}

void Update(const AttributeRequest& request, Timestamp now, Attributes& a) {
  if (request.uid.has_value() || request.gid.has_value() ||
      request.drop_privileges) {
    a.mode = WithoutPrivileges(a.mode);
  }
  if (request.mode.has_value()) {
    a.mode = (a.mode & S_IFMT) | (*request.mode & 07777);
  }
  if (request.uid.has_value()) a.uid = *request.uid;
  if (request.gid.has_value()) a.gid = *request.gid;
  if (request.atime.has_value()) a.atime = *request.atime;
  if (request.mtime.has_value()) a.mtime = *request.mtime;
  a.ctime = now;
}

}  // namespace

absl::StatusOr<Stat> Volume::GetAttributes(uint64_t ino) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const Inode* inode = core_.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  return StatOf(*inode);
}

absl::Status Volume::SetSize(uint64_t ino, uint64_t size,
                             const Handle* handle) {
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(FindRegular(ino).status());
  }
  if (handle != nullptr) {
    absl::MutexLock lock(&handle->inode->mu);
    return writer_.Truncate(*handle->inode, size, options_.now());
  }
  // Held open for the time of the change, if it is not anyway.
  const std::shared_ptr<OpenInode> open = open_files_.Open(ino);
  absl::Status status;
  {
    absl::MutexLock lock(&open->mu);
    status = writer_.Truncate(*open, size, options_.now());
    if (status.ok()) status = writer_.CommitLocked(*open);
  }
  const absl::Status closed = CloseOne(*open, /*wrote=*/false);
  return status.ok() ? closed : status;
}

absl::Status Volume::CommitAttributes(uint64_t ino,
                                      const AttributeRequest& request) {
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Timestamp now = options_.now();
  PutInode put{.ino = ino};
  bool drop_capabilities = false;
  {
    absl::MutexLock lock(&core_.tree_mu);
    if (const auto orphan = core_.orphans.find(ino);
        orphan != core_.orphans.end()) {
      Update(request, now, orphan->second->attributes);
      return absl::OkStatus();
    }
    const Inode* inode = core_.tree.Find(ino);
    if (inode == nullptr) return PosixError(ENOENT);
    put.attributes = inode->attributes;
    drop_capabilities = HasCapabilities(*inode) &&
                        (request.uid.has_value() || request.gid.has_value() ||
                         request.drop_privileges);
  }
  Update(request, now, put.attributes);
  Commit commit(core_, now);
  commit.Add(put);
  if (drop_capabilities) {
    commit.Add(DropXattr{.ino = ino, .name = kCapabilities});
  }
  VARVE_RETURN_IF_ERROR(commit.Finish());
  // Content that is still to be committed brings its own times with it.
  if (const auto open = open_files_.Find(ino)) {
    absl::MutexLock lock(&open->stat_mu);
    if (request.mtime.has_value()) open->stat.mtime = *request.mtime;
    open->stat.ctime = now;
  }
  return absl::OkStatus();
}

absl::Status Volume::DropPrivileges(uint64_t ino) {
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* inode = core_.FindInode(ino);
    if (inode == nullptr) return PosixError(ENOENT);
    const uint32_t mode = inode->attributes.mode;
    if (WithoutPrivileges(mode) == mode && !HasCapabilities(*inode)) {
      return absl::OkStatus();
    }
  }
  return CommitAttributes(ino, {.drop_privileges = true});
}

absl::StatusOr<Stat> Volume::SetAttributes(uint64_t ino,
                                           const AttributeRequest& request,
                                           const Handle* handle) {
  if (read_only()) return PosixError(EROFS);
  if (request.size.has_value()) {
    VARVE_RETURN_IF_ERROR(SetSize(ino, *request.size, handle));
  }
  if (request.mode.has_value() || request.uid.has_value() ||
      request.gid.has_value() || request.drop_privileges ||
      request.atime.has_value() || request.mtime.has_value()) {
    VARVE_RETURN_IF_ERROR(CommitAttributes(ino, request));
  }
  return GetAttributes(ino);
}

absl::StatusOr<std::string> Volume::ReadSymlink(uint64_t ino) {
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* inode = core_.FindInode(ino);
    if (inode == nullptr) return PosixError(ENOENT);
    if (!inode->is_symlink()) return PosixError(EINVAL);
  }
  VARVE_ASSIGN_OR_RETURN(const ReadReply target,
                         reader_.Read(ino, nullptr, 0, kMaxFileSize));
  return target.ToString();
}

absl::StatusOr<const Inode*> Volume::FindForXattr(
    uint64_t ino, absl::string_view name) const {
  // Nobody would look at them; better to say so than to keep them idly.
  if (absl::StartsWith(name, "system.")) return PosixError(EOPNOTSUPP);
  const Inode* inode = core_.tree.Find(ino);
  if (inode != nullptr) return inode;
  // A file without a name cannot get attributes that anybody would find again.
  return core_.FindInode(ino) == nullptr ? PosixError(ENOENT)
                                         : PosixError(EOPNOTSUPP);
}

absl::Status Volume::SetXattr(uint64_t ino, absl::string_view name,
                              absl::string_view value, int flags) {
  if (read_only()) return PosixError(EROFS);
  if (name.empty() || name.size() > kMaxXattrNameSize ||
      name.find('\0') != absl::string_view::npos) {
    return PosixError(ERANGE);
  }
  if (value.size() > kMaxXattrValueSize) return PosixError(E2BIG);
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Timestamp now = options_.now();
  PutInode put{.ino = ino};
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const Inode* inode, FindForXattr(ino, name));
    bool exists = false;
    size_t list_size = name.size() + 1;
    if (inode->detail != nullptr) {
      for (const auto& [other, other_value] : inode->detail->xattrs) {
        exists = exists || other == name;
        list_size += other.size() + 1;
      }
    }
    if (exists && (flags & XATTR_CREATE) != 0) return PosixError(EEXIST);
    if (!exists && (flags & XATTR_REPLACE) != 0) return PosixError(ENODATA);
    if (!exists && list_size > kMaxXattrList) return PosixError(ENOSPC);
    put.attributes = inode->attributes;
  }
  put.attributes.ctime = now;
  Commit commit(core_, now);
  commit.Add(put);
  commit.Add(fs::SetXattr{.ino = ino, .name = name, .value = value});
  return commit.Finish();
}

absl::StatusOr<std::string> Volume::GetXattr(uint64_t ino,
                                             absl::string_view name) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  if (absl::StartsWith(name, "system.")) return PosixError(EOPNOTSUPP);
  const Inode* inode = core_.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  if (inode->detail == nullptr) return PosixError(ENODATA);
  const auto it = inode->detail->xattrs.find(std::string(name));
  if (it == inode->detail->xattrs.end()) return PosixError(ENODATA);
  return it->second;
}

absl::StatusOr<std::string> Volume::ListXattrs(uint64_t ino) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const Inode* inode = core_.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  std::string names;
  if (inode->detail == nullptr) return names;
  for (const auto& [name, value] : inode->detail->xattrs) {
    names.append(name).push_back('\0');
  }
  return names;
}

absl::Status Volume::RemoveXattr(uint64_t ino, absl::string_view name) {
  if (read_only()) return PosixError(EROFS);
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Timestamp now = options_.now();
  PutInode put{.ino = ino};
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const Inode* inode, FindForXattr(ino, name));
    if (inode->detail == nullptr ||
        !inode->detail->xattrs.contains(std::string(name))) {
      return PosixError(ENODATA);
    }
    put.attributes = inode->attributes;
  }
  put.attributes.ctime = now;
  Commit commit(core_, now);
  commit.Add(put);
  commit.Add(DropXattr{.ino = ino, .name = name});
  return commit.Finish();
}

absl::StatusOr<SpaceInfo> Volume::GetSpace() {
  struct statvfs host;
  if (statvfs(core_.store->path().c_str(), &host) != 0) {
    return SystemError(errno, core_.store->path());
  }
  SpaceInfo info;
  info.host_total = uint64_t{host.f_blocks} * host.f_frsize;
  info.host_free = uint64_t{host.f_bfree} * host.f_frsize;
  info.host_available = uint64_t{host.f_bavail} * host.f_frsize;
  info.store_bytes = core_.store->file_size();
  absl::ReaderMutexLock lock(&core_.tree_mu);
  info.live_bytes = core_.tree.content_bytes();
  info.inodes = core_.tree.inode_count();
  return info;
}

}  // namespace varve::fs
