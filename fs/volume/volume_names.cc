// Operations on names.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/format/acl.h"
#include "fs/log/commit.h"
#include "fs/log/content_key.h"
#include "fs/volume/inode_plan.h"
#include "fs/volume/list_names.h"
#include "fs/volume/lookup.h"
#include "fs/volume/renamer.h"
#include "fs/volume/volume.h"

namespace varve::fs {
absl::StatusOr<Stat> Volume::Lookup(uint64_t parent, absl::string_view name) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  // A look-up of "." of any inode resolves a file handle (NFS,
  // open_by_handle_at()).
  VARVE_ASSIGN_OR_RETURN(
      const LiveInode inode,
      name == "." ? core_.GetInode(parent) : FindNamed(core_, parent, name));
  inodes_.Reference(inode);
  return inodes_.StatOf(inode);
}

void Volume::Forget(uint64_t ino, uint64_t count) {
  inodes_.Forget(ino, count);
}

absl::StatusOr<uint64_t> Volume::Make(uint64_t parent, absl::string_view name,
                                      const NewInode& made, Caller caller) {
  if (read_only()) return PosixError(EROFS);
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Timestamp now = options_.now();
  std::optional<InodePlan> plan;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(CheckFree(core_, parent, name));
    VARVE_ASSIGN_OR_RETURN(const LiveInode directory, core_.GetInode(parent));
    VARVE_ASSIGN_OR_RETURN(
        plan, InodePlan::Make(core_, directory, made, caller, now));
  }
  Commit commit(core_, now);
  const uint64_t ino = commit.NewIno();
  plan->AddTo(commit, ino);
  commit.Add(PutName{.parent = parent, .ino = ino, .name = name});
  if (!made.target.empty()) commit.AddInline(ino, 0, made.target);
  VARVE_RETURN_IF_ERROR(commit.Finish());
  return ino;
}

absl::StatusOr<Stat> Volume::MakeAndReference(uint64_t parent,
                                              absl::string_view name,
                                              const NewInode& made,
                                              Caller caller) {
  VARVE_ASSIGN_OR_RETURN(const uint64_t ino, Make(parent, name, made, caller));
  return inodes_.Reference(ino);
}

absl::StatusOr<Stat> Volume::MakeNode(uint64_t parent, absl::string_view name,
                                      uint32_t mode, uint32_t rdev,
                                      Caller caller) {
  if ((mode & S_IFMT) == 0) mode |= S_IFREG;
  if (S_ISDIR(mode) || S_ISLNK(mode)) return PosixError(EINVAL);
  const bool device = S_ISCHR(mode) || S_ISBLK(mode);
  return MakeAndReference(parent, name,
                          {.mode = mode, .rdev = device ? rdev : 0}, caller);
}

absl::StatusOr<Stat> Volume::MakeDirectory(uint64_t parent,
                                           absl::string_view name,
                                           uint32_t mode, Caller caller) {
  return MakeAndReference(parent, name, {.mode = S_IFDIR | (mode & 07777)},
                          caller);
}

absl::StatusOr<Stat> Volume::MakeSymlink(uint64_t parent,
                                         absl::string_view name,
                                         absl::string_view target,
                                         Caller caller) {
  if (target.empty()) return PosixError(ENOENT);
  if (target.size() > kMaxTargetSize) return PosixError(ENAMETOOLONG);
  return MakeAndReference(parent, name,
                          {.mode = S_IFLNK | 0777, .target = target}, caller);
}

absl::StatusOr<std::pair<Stat, std::unique_ptr<Handle>>> Volume::Create(
    uint64_t parent, absl::string_view name, uint32_t mode, int flags,
    Caller caller) {
  VARVE_ASSIGN_OR_RETURN(
      const uint64_t ino,
      Make(parent, name, {.mode = S_IFREG | (mode & 07777)}, caller));
  VARVE_ASSIGN_OR_RETURN(const Stat stat, inodes_.Reference(ino));
  auto handle = std::make_unique<Handle>();
  handle->flags = flags;
  OpenInto(*handle, ino);
  return std::pair(stat, std::move(handle));
}

absl::StatusOr<std::pair<Stat, std::unique_ptr<Handle>>> Volume::CreateUnnamed(
    uint64_t parent, uint32_t mode, int flags, Caller caller) {
  if (read_only()) return PosixError(EROFS);
  auto handle = std::make_unique<Handle>();
  handle->flags = flags & ~O_EXCL;
  absl::MutexLock commit_lock(&core_.commit_mu);
  absl::MutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode directory,
                         FindDirectory(core_, parent));
  if (directory.is_orphan) return PosixError(ENOENT);
  if (core_.next_ino >= kMaxId) return NumbersUsedUp();
  VARVE_ASSIGN_OR_RETURN(
      const InodePlan plan,
      InodePlan::Make(core_, directory, {.mode = S_IFREG | (mode & 07777)},
                      caller, options_.now()));
  const uint64_t ino = core_.next_ino++;
  VARVE_RETURN_IF_ERROR(core_.orphans.Apply(
      PutInode{.ino = ino, .attributes = plan.attributes()}));
  if (!plan.access_acl().empty()) {
    VARVE_RETURN_IF_ERROR(core_.orphans.Apply(fs::SetXattr{
        .ino = ino, .name = kAccessAclName, .value = plan.access_acl()}));
  }
  if ((flags & O_EXCL) == 0) core_.linkable.insert(ino);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  inodes_.Reference(inode);
  OpenInto(*handle, ino);
  return std::pair(inodes_.StatOf(inode), std::move(handle));
}

absl::Status Volume::LinkUnnamed(uint64_t ino, uint64_t parent,
                                 absl::string_view name) {
  // Hold the file open, so that it is not dropped meanwhile.
  const std::shared_ptr<OpenInode> open = open_files_.Open(ino);
  const absl::Status status = writer_.CommitWithName(
      *open, parent, name, [this, ino, parent, name]() -> absl::Status {
        core_.tree_mu.AssertReaderHeld();
        if (!core_.linkable.contains(ino)) return PosixError(ENOENT);
        return CheckFree(core_, parent, name);
      });
  const absl::Status closed = CloseOne(*open);
  return status.ok() ? closed : status;
}

absl::StatusOr<Stat> Volume::Link(uint64_t ino, uint64_t parent,
                                  absl::string_view name) {
  if (read_only()) return PosixError(EROFS);
  bool unnamed;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    unnamed = core_.linkable.contains(ino);
  }
  if (unnamed) {
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    VARVE_RETURN_IF_ERROR(LinkUnnamed(ino, parent, name));
    return inodes_.Reference(ino);
  }
  {
    absl::MutexLock commit_lock(&core_.commit_mu);
    {
      absl::ReaderMutexLock lock(&core_.tree_mu);
      VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetNamed(ino));
      if (inode.is_directory()) return PosixError(EPERM);
      if (inode.nlink() >= kMaxLinks) return PosixError(EMLINK);
      VARVE_RETURN_IF_ERROR(CheckFree(core_, parent, name));
    }
    Commit commit(core_, options_.now());
    commit.Add(PutName{.parent = parent, .ino = ino, .name = name});
    VARVE_RETURN_IF_ERROR(commit.Finish());
  }
  return inodes_.Reference(ino);
}

absl::Status Volume::Remove(uint64_t parent, absl::string_view name,
                            bool directory) {
  if (read_only()) return PosixError(EROFS);
  if (name == ".") return PosixError(EINVAL);
  if (name == "..") return PosixError(ENOTEMPTY);
  absl::MutexLock commit_lock(&core_.commit_mu);
  LiveInode inode;
  bool last;
  std::optional<EntryKeys> key;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(inode, FindNamed(core_, parent, name));
    if (directory != inode.is_directory()) {
      return PosixError(directory ? ENOTDIR : EISDIR);
    }
    if (inode.name_count > 0) return PosixError(ENOTEMPTY);
    last = directory || inode.nlink() == 1;
    if (last) {
      VARVE_ASSIGN_OR_RETURN(key, KeyOfContent(core_, inode));
    }
  }
  Commit commit(core_, options_.now());
  commit.UseReserve();
  if (key.has_value()) commit.AddTombstone(*key);
  commit.Add(DropName{.parent = parent, .name = name});
  if (last) commit.Add(DropInode{.ino = inode.ino});
  return commit.Finish();
}

absl::Status Volume::Unlink(uint64_t parent, absl::string_view name) {
  return Remove(parent, name, /*directory=*/false);
}

absl::Status Volume::RemoveDirectory(uint64_t parent, absl::string_view name) {
  return Remove(parent, name, /*directory=*/true);
}

absl::Status Volume::ReadDirectory(
    uint64_t ino, uint64_t cookie, bool reference,
    const std::function<bool(const Entry&)>& visit) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode directory, FindDirectory(core_, ino));
  const absl::Status listed =
      ListNames(core_.reader(), directory, cookie,
                [&](const ListedName& name) -> absl::StatusOr<bool> {
                  core_.tree_mu.AssertReaderHeld();
                  const bool is_dot = name.item == nullptr;
                  VARVE_ASSIGN_OR_RETURN(
                      const LiveInode inode,
                      !is_dot            ? core_.GetInodeOf(*name.item)
                      : name.text == "." ? directory
                                         : core_.GetInode(ParentOf(directory)));
                  if (!visit({name.text, inodes_.StatOf(inode), name.cookie})) {
                    return false;
                  }
                  if (reference && !is_dot) inodes_.Reference(inode);
                  return true;
                });
  VARVE_RETURN_IF_ERROR(core_.log_tree->segments.CheckLength());
  return listed;
}

absl::Status Volume::Rename(uint64_t parent, absl::string_view name,
                            uint64_t new_parent, absl::string_view new_name,
                            uint32_t flags, Caller caller) {
  if (read_only()) return PosixError(EROFS);
  absl::MutexLock commit_lock(&core_.commit_mu);
  return Renamer(core_, reader_)
      .Rename(parent, name, new_parent, new_name, flags, caller,
              options_.now());
}

}  // namespace varve::fs
