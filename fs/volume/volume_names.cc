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
#include "fs/base/control_name.h"
#include "fs/base/error.h"
#include "fs/format/acl.h"
#include "fs/log/commit.h"
#include "fs/log/content_key.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

absl::Status CheckName(absl::string_view name) {
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (!IsValidName(name)) return PosixError(EINVAL);
  return absl::OkStatus();
}

}  // namespace

// What Make() makes.
struct Volume::NewInode {
  uint32_t mode = 0;
  uint32_t rdev = 0;
  absl::string_view target = {};  // of a symlink
};

// What PlanInode() says of it.
struct Volume::Planned {
  Attributes attributes;
  // Access control lists; empty if it has none.
  std::string access_acl = {};
  std::string default_acl = {};

  void AddXattrs(uint64_t ino, Commit& commit) const {
    for (const auto& [name, value] :
         {std::pair(kAccessAclName, absl::string_view(access_acl)),
          std::pair(kDefaultAclName, absl::string_view(default_acl))}) {
      if (value.empty()) continue;
      commit.Add(fs::SetXattr{.ino = ino, .name = name, .value = value});
    }
  }
};

Attributes NewAttributes(uint32_t mode, Caller owner, Timestamp now) {
  Attributes attributes;
  attributes.mode = mode;
  attributes.uid = owner.uid;
  attributes.gid = owner.gid;
  attributes.atime = attributes.mtime = now;
  attributes.ctime = attributes.btime = now;
  return attributes;
}

Stat Volume::StatOf(const Inode& inode) const {
  Stat stat{.ino = inode.ino,
            .attributes = inode.attributes,
            .nlink = inode.link_count};
  if (inode.is_directory()) {
    stat.attributes.size = 4096;
    return stat;
  }
  if (!inode.is_regular()) return stat;
  uint64_t data = inode.data_bytes();
  if (const auto open = open_files_.Find(inode.ino)) {
    const OpenInode::DirtyStat dirty = open->GetStat();
    if (dirty.dirty) {
      stat.attributes.size = dirty.size;
      stat.attributes.mtime = dirty.mtime;
      stat.attributes.ctime = std::max(dirty.ctime, stat.attributes.ctime);
      data = dirty.data_bytes;
    }
  }
  stat.blocks = (data + 511) / 512;
  return stat;
}

absl::StatusOr<Stat> Volume::Reference(uint64_t ino) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const Inode* inode = core_.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  inode->kernel_references.fetch_add(1, std::memory_order_relaxed);
  return StatOf(*inode);
}

absl::StatusOr<const Inode*> Volume::FindDirectory(uint64_t ino) const {
  const Inode* inode = core_.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  if (!inode->is_directory()) return PosixError(ENOTDIR);
  return inode;
}

absl::StatusOr<const Inode*> Volume::FindNamed(uint64_t parent,
                                               absl::string_view name) const {
  VARVE_ASSIGN_OR_RETURN(const Inode* directory, FindDirectory(parent));
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (name == ".") return directory;
  if (name == "..") return directory->parent();
  const Inode* inode = core_.tree.Lookup(*directory, name);
  if (inode == nullptr) return PosixError(ENOENT);
  return inode;
}

absl::Status Volume::CheckFree(uint64_t parent, absl::string_view name) const {
  VARVE_ASSIGN_OR_RETURN(const Inode* directory, FindDirectory(parent));
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (name == "." || name == ".." ||
      core_.tree.Lookup(*directory, name) != nullptr) {
    return PosixError(EEXIST);
  }
  VARVE_RETURN_IF_ERROR(CheckName(name));
  // A directory that was removed while somebody is in it.
  if (directory->link_count == 0) return PosixError(ENOENT);
  if (parent == kRootIno && name == kControlName) return PosixError(EPERM);
  return absl::OkStatus();
}

absl::StatusOr<Stat> Volume::Lookup(uint64_t parent, absl::string_view name) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const Inode* inode;
  if (name == ".") {
    // Of any inode: how file handles (NFS, open_by_handle_at) are resolved.
    inode = core_.FindInode(parent);
    if (inode == nullptr) return PosixError(ENOENT);
  } else {
    VARVE_ASSIGN_OR_RETURN(inode, FindNamed(parent, name));
  }
  inode->kernel_references.fetch_add(1, std::memory_order_relaxed);
  return StatOf(*inode);
}

void Volume::Forget(uint64_t ino, uint64_t count) {
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* inode = core_.FindInode(ino);
    if (inode == nullptr) return;
    const uint32_t before = inode->kernel_references.fetch_sub(
        static_cast<uint32_t>(count), std::memory_order_acq_rel);
    if (before != count || inode->link_count != 0) return;
  }
  DropIfUnused(ino);
}

void Volume::DropIfUnused(uint64_t ino) {
  absl::MutexLock lock(&core_.tree_mu);
  const auto it = core_.orphans.find(ino);
  if (it == core_.orphans.end() || it->second->kernel_references.load() > 0 ||
      open_files_.Find(ino) != nullptr) {
    return;
  }
  core_.linkable.erase(ino);
  core_.orphans.erase(it);
}

Volume::Planned Volume::PlanInode(const Inode& directory, const NewInode& made,
                                  Caller caller, Timestamp now) const {
  Planned plan;
  Attributes& a = plan.attributes;
  a = NewAttributes(made.mode, caller, now);
  a.rdev = made.rdev;
  a.size = made.target.size();
  if ((directory.attributes.mode & S_ISGID) != 0) {
    a.gid = directory.attributes.gid;
    if (S_ISDIR(made.mode)) a.mode |= S_ISGID;
  }
  if (S_ISLNK(made.mode)) return plan;
  const std::string* inherited = directory.FindXattr(kDefaultAclName);
  std::optional<Acl> acl;
  if (inherited != nullptr) acl = Acl::Decode(*inherited);
  if (!acl.has_value()) {
    a.mode &= ~(caller.umask & 0777);
    return plan;
  }
  if (S_ISDIR(made.mode)) plan.default_acl = *inherited;
  a.mode = acl->Inherit(a.mode);
  if (!acl->IsJustMode()) plan.access_acl = acl->Encode();
  return plan;
}

absl::StatusOr<uint64_t> Volume::Make(uint64_t parent, absl::string_view name,
                                      const NewInode& made, Caller caller) {
  if (read_only()) return PosixError(EROFS);
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Timestamp now = options_.now();
  Planned plan;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(CheckFree(parent, name));
    plan = PlanInode(*core_.FindInode(parent), made, caller, now);
  }
  Commit commit(core_, now);
  const uint64_t ino = commit.NewIno();
  commit.Add(PutInode{.ino = ino, .attributes = plan.attributes});
  plan.AddXattrs(ino, commit);
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
  return Reference(ino);
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
  VARVE_ASSIGN_OR_RETURN(const Stat stat, Reference(ino));
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
  VARVE_ASSIGN_OR_RETURN(const Inode* directory, FindDirectory(parent));
  if (directory->link_count == 0) return PosixError(ENOENT);
  if (core_.next_ino >= kMaxId) return NumbersUsedUp();
  const Planned plan = PlanInode(*directory, {.mode = S_IFREG | (mode & 07777)},
                                 caller, options_.now());
  auto inode = std::make_unique<Inode>();
  inode->ino = core_.next_ino++;
  inode->attributes = plan.attributes;
  inode->kernel_references = 1;
  if (!plan.access_acl.empty()) {
    inode->detail = std::make_unique<InodeDetail>();
    inode->detail->xattrs.emplace(std::string(kAccessAclName), plan.access_acl);
  }
  const Stat stat = StatOf(*inode);
  OpenInto(*handle, inode->ino);
  if ((flags & O_EXCL) == 0) core_.linkable.insert(inode->ino);
  core_.orphans.emplace(inode->ino, std::move(inode));
  return std::pair(stat, std::move(handle));
}

void Volume::TakeOverOrphan(Inode& inode) {
  const auto it = core_.orphans.find(inode.ino);
  if (it == core_.orphans.end()) return;
  inode.kernel_references = it->second->kernel_references.load();
  core_.linkable.erase(inode.ino);
  core_.orphans.erase(it);
}

absl::Status Volume::LinkUnnamed(uint64_t ino, uint64_t parent,
                                 absl::string_view name) {
  // Held open, if it is not anyway, so that it is not gone in between.
  const std::shared_ptr<OpenInode> open = open_files_.Open(ino);
  const absl::Status status = writer_.CommitWithName(
      *open, parent, name, [this, ino, parent, name]() -> absl::Status {
        core_.tree_mu.AssertReaderHeld();
        if (!core_.linkable.contains(ino)) return PosixError(ENOENT);
        return CheckFree(parent, name);
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
    return Reference(ino);
  }
  {
    absl::MutexLock commit_lock(&core_.commit_mu);
    {
      absl::ReaderMutexLock lock(&core_.tree_mu);
      const Inode* inode = core_.tree.Find(ino);
      if (inode == nullptr) return PosixError(ENOENT);
      if (inode->is_directory()) return PosixError(EPERM);
      if (inode->link_count >= kMaxLinks) return PosixError(EMLINK);
      VARVE_RETURN_IF_ERROR(CheckFree(parent, name));
    }
    Commit commit(core_, options_.now());
    commit.Add(PutName{.parent = parent, .ino = ino, .name = name});
    VARVE_RETURN_IF_ERROR(commit.Finish());
  }
  return Reference(ino);
}

void Volume::TombstoneContent(Commit& commit, const Inode& inode) {
  const auto key = KeyOfContent(*core_.store, inode);
  if (key.has_value()) commit.AddTombstone(*key);
}

absl::Status Volume::Remove(uint64_t parent, absl::string_view name,
                            bool directory) {
  if (read_only()) return PosixError(EROFS);
  if (name == ".") return PosixError(EINVAL);
  if (name == "..") return PosixError(ENOTEMPTY);
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Inode* inode;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(inode, FindNamed(parent, name));
    if (directory != inode->is_directory()) {
      return PosixError(directory ? ENOTDIR : EISDIR);
    }
    if (directory && !inode->directory().empty()) return PosixError(ENOTEMPTY);
  }
  // The inode cannot go while commit_mu is held.
  const bool last = directory || inode->link_count == 1;
  Commit commit(core_, options_.now());
  commit.UseReserve();
  if (last) TombstoneContent(commit, *inode);
  commit.Add(DropName{.parent = parent, .name = name});
  if (last) commit.Add(DropInode{.ino = inode->ino});
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
  VARVE_ASSIGN_OR_RETURN(const Inode* directory, FindDirectory(ino));
  const Directory& names = directory->directory();
  ListingPosition at = cookie == 0 || cookie == kBehindDots
                           ? ListingPosition::Start(names.end())
                           : ListingPosition::Decode(cookie);
  if (cookie == kBehindDots) at.after = Directory::kParentCookie;
  const auto show = [&](absl::string_view name, const Inode& inode,
                        uint64_t place) {
    core_.tree_mu.AssertReaderHeld();
    at.after = place;
    return visit({name, StatOf(inode), at.Encode()});
  };
  if (at.after < Directory::kSelfCookie &&
      !show(".", *directory, Directory::kSelfCookie)) {
    return absl::OkStatus();
  }
  if (at.after < Directory::kParentCookie &&
      !show("..", *directory->parent(), Directory::kParentCookie)) {
    return absl::OkStatus();
  }
  names.ForEachAfter(at.after, [&](const Name& name) {
    if (name.cookie >= at.end) return false;
    if (!show(name.text(), *name.inode, name.cookie)) return false;
    if (reference) {
      name.inode->kernel_references.fetch_add(1, std::memory_order_relaxed);
    }
    return true;
  });
  return absl::OkStatus();
}

}  // namespace varve::fs
