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

#include "engine/status.h"
#include "fs/commit.h"
#include "fs/error.h"
#include "fs/volume.h"

namespace varve::fs {
namespace {

// As ext4 has it.
constexpr uint32_t kMaxLinks = 65000;
constexpr size_t kMaxSymlink = 4095;
// Plain files up to this size are copied to their new key when renamed.
constexpr uint64_t kMaxCopiedByRename = uint64_t{64} << 10;

// The name that leads to the tree's own directory, in the root.
constexpr absl::string_view kReservedName = ".varve";

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

// A rename that has passed all checks.
struct Volume::RenamePlan {
  const Inode* from_parent = nullptr;
  const Inode* to_parent = nullptr;
  absl::string_view from_name = {};
  absl::string_view to_name = {};
  const Inode* moved = nullptr;
  const Inode* replaced = nullptr;  // null if the new name is free
  bool exchange = false;
  bool nothing_to_do = false;
};

// What happens to the content of a plain file that gets another path.
struct Volume::Rekeying {
  const Inode* inode = nullptr;
  bool leaves_key = false;       // its old key is to be hidden
  uint64_t new_hash = 0;         // the key of its new path
  Store::PinnedBytes payload{};  // what is to be written there; may be empty
  std::optional<Extent> copied{};
};

Stat Volume::StatOf(const Inode& inode) const {
  Stat stat{.ino = inode.ino,
            .attributes = inode.attributes,
            .nlink = inode.link_count};
  if (inode.is_directory()) {
    stat.attributes.size = 4096;
    return stat;
  }
  if (!inode.is_regular()) return stat;
  uint64_t data = inode.attributes.size;
  if (inode.whole_entry == Inode::kNone) {
    data = inode.detail == nullptr ? 0 : inode.detail->extents.data_bytes();
  }
  if (const auto open = open_files_.Find(inode.ino)) {
    const OpenInode::DirtyStat dirty = open->GetStat();
    if (dirty.dirty) {
      stat.attributes.size = dirty.size;
      stat.attributes.mtime = dirty.mtime;
      stat.attributes.ctime = std::max(dirty.ctime, stat.attributes.ctime);
      // Close enough until it is committed: overwritten bytes count twice.
      data = std::min(dirty.size,
                      std::min(data, dirty.base_limit) + dirty.piece_bytes);
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
  if (parent == kRootIno && name == kReservedName) return PosixError(EPERM);
  return absl::OkStatus();
}

absl::StatusOr<Stat> Volume::Lookup(uint64_t parent, absl::string_view name) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const Inode* inode, FindNamed(parent, name));
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
  core_.orphans.erase(it);
}

absl::StatusOr<uint64_t> Volume::Make(uint64_t parent, absl::string_view name,
                                      const NewInode& made, Caller caller) {
  if (read_only()) return PosixError(EROFS);
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Timestamp now = options_.now();
  PutInode put;
  put.attributes.mode = made.mode;
  put.attributes.uid = caller.uid;
  put.attributes.gid = caller.gid;
  put.attributes.rdev = made.rdev;
  put.attributes.size = made.target.size();
  put.attributes.atime = put.attributes.mtime = now;
  put.attributes.ctime = put.attributes.btime = now;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(CheckFree(parent, name));
    const Inode* directory = core_.FindInode(parent);
    if (S_ISDIR(made.mode) && directory->link_count >= kMaxLinks) {
      return PosixError(EMLINK);
    }
    if ((directory->attributes.mode & S_ISGID) != 0) {
      put.attributes.gid = directory->attributes.gid;
      if (S_ISDIR(made.mode)) put.attributes.mode |= S_ISGID;
    }
  }
  Commit commit(core_, now);
  put.ino = commit.NewIno();
  commit.Add(put);
  commit.Add(PutName{.parent = parent, .ino = put.ino, .name = name});
  if (!made.target.empty()) commit.AddInline(put.ino, 0, made.target);
  VARVE_RETURN_IF_ERROR(commit.Finish());
  return put.ino;
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
  if (target.size() > kMaxSymlink) return PosixError(ENAMETOOLONG);
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
  handle->inode = open_files_.Open(ino);
  handle->flags = flags;
  return std::pair(stat, std::move(handle));
}

absl::StatusOr<Stat> Volume::Link(uint64_t ino, uint64_t parent,
                                  absl::string_view name) {
  if (read_only()) return PosixError(EROFS);
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
  if (!inode.is_regular()) return;
  Extent entry;
  if (inode.whole_entry != Inode::kNone) {
    entry = inode.WholeExtent();
  } else {
    if (inode.detail == nullptr) return;
    // A file that was plain and has been patched since.
    const uint64_t path_hash = HashKey(Tree::PathOf(inode));
    for (const auto& [offset, extent] : inode.detail->extents.extents()) {
      if (extent.key_hash == path_hash && !extent.shared) entry = extent;
    }
    if (entry.length == 0) return;
  }
  // If the key's newest entry is another one, it is not this file's to hide.
  const auto newest = core_.store->FindHashed(entry.key_hash);
  if (newest == entry.entry_metadata_offset()) {
    commit.AddTombstone(entry.key_hash);
  }
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

absl::StatusOr<Volume::RenamePlan> Volume::PlanRename(
    uint64_t parent, absl::string_view name, uint64_t new_parent,
    absl::string_view new_name, uint32_t flags) const {
  if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE) {
    return PosixError(EINVAL);
  }
  RenamePlan plan{.from_name = name, .to_name = new_name};
  plan.exchange = flags == RENAME_EXCHANGE;
  VARVE_ASSIGN_OR_RETURN(plan.from_parent, FindDirectory(parent));
  VARVE_ASSIGN_OR_RETURN(plan.to_parent, FindDirectory(new_parent));
  for (const absl::string_view n : {name, new_name}) {
    if (n == "." || n == "..") return PosixError(EBUSY);
  }
  VARVE_ASSIGN_OR_RETURN(plan.moved, FindNamed(parent, name));
  plan.replaced = core_.tree.Lookup(*plan.to_parent, new_name);
  if (plan.replaced == nullptr) {
    if (plan.exchange) return PosixError(ENOENT);
    VARVE_RETURN_IF_ERROR(CheckFree(new_parent, new_name));
  } else if (flags == RENAME_NOREPLACE) {
    return PosixError(EEXIST);
  }
  // A directory must not come to lie in itself.
  if (plan.moved->is_directory() &&
      Tree::IsWithin(*plan.to_parent, *plan.moved)) {
    return PosixError(EINVAL);
  }
  if (plan.replaced == nullptr) {
    if (plan.moved->is_directory() && plan.to_parent != plan.from_parent &&
        plan.to_parent->link_count >= kMaxLinks) {
      return PosixError(EMLINK);
    }
    return plan;
  }
  if (plan.exchange) {
    if (plan.replaced->is_directory() &&
        Tree::IsWithin(*plan.from_parent, *plan.replaced)) {
      return PosixError(EINVAL);
    }
  } else if (plan.moved != plan.replaced) {
    if (plan.moved->is_directory() && !plan.replaced->is_directory()) {
      return PosixError(ENOTDIR);
    }
    if (!plan.moved->is_directory() && plan.replaced->is_directory()) {
      return PosixError(EISDIR);
    }
    if (plan.replaced->is_directory() && !plan.replaced->directory().empty()) {
      return PosixError(ENOTEMPTY);
    }
  }
  // Two names of one file: POSIX says that nothing happens.
  plan.nothing_to_do = plan.moved == plan.replaced;
  return plan;
}

Volume::Rekeying Volume::PlanRekeying(const Inode& inode,
                                      const Inode& from_parent,
                                      absl::string_view from_name,
                                      const Inode& to_parent,
                                      absl::string_view to_name) const {
  Rekeying plan{.inode = &inode};
  // The first name decides the key; what other names do is no matter of it.
  if (!inode.is_regular() || inode.names->parent != &from_parent ||
      inode.names->text() != from_name) {
    return plan;
  }
  plan.leaves_key = true;
  if (inode.whole_entry == Inode::kNone) return plan;
  std::string path = Tree::PathOf(to_parent);
  if (!path.empty()) path += '/';
  path.append(to_name.data(), to_name.size());
  plan.new_hash = HashKey(path);
  if (core_.store->FindHashed(plan.new_hash) ==
      inode.WholeExtent().entry_metadata_offset()) {
    // It lies under that key already, having been there before.
    plan.leaves_key = false;
    return plan;
  }
  if (inode.attributes.size <= kMaxCopiedByRename) {
    // Damage must not be given a fresh checksum: such a file is moved by
    // reference, and stays damaged.
    auto bytes = core_.store->View(inode.whole_entry, inode.attributes.size);
    if (bytes.ok() && reader_.VerifyAll(inode.ino).ok()) {
      plan.payload = *std::move(bytes);
    }
  }
  return plan;
}

absl::Status Volume::CommitRename(const RenamePlan& plan) {
  const bool removes =
      plan.replaced != nullptr && !plan.exchange &&
      (plan.replaced->is_directory() || plan.replaced->link_count == 1);
  std::vector<Rekeying> rekeyings = {
      PlanRekeying(*plan.moved, *plan.from_parent, plan.from_name,
                   *plan.to_parent, plan.to_name)};
  if (plan.exchange) {
    rekeyings.push_back(PlanRekeying(*plan.replaced, *plan.to_parent,
                                     plan.to_name, *plan.from_parent,
                                     plan.from_name));
  }
  Commit commit(core_, options_.now());
  // Tombstones first: they must not hide what is written under the same key.
  if (removes) TombstoneContent(commit, *plan.replaced);
  for (const Rekeying& rekeying : rekeyings) {
    if (rekeying.leaves_key) TombstoneContent(commit, *rekeying.inode);
  }
  for (Rekeying& rekeying : rekeyings) {
    if (rekeying.payload.bytes.empty()) continue;
    rekeying.copied =
        commit.AddEntry(rekeying.new_hash, {rekeying.payload.bytes});
  }
  commit.Add(DropName{.parent = plan.from_parent->ino, .name = plan.from_name});
  if (plan.replaced != nullptr) {
    commit.Add(DropName{.parent = plan.to_parent->ino, .name = plan.to_name});
    if (removes) commit.Add(DropInode{.ino = plan.replaced->ino});
  }
  commit.Add(PutName{.parent = plan.to_parent->ino,
                     .ino = plan.moved->ino,
                     .name = plan.to_name});
  if (plan.exchange) {
    commit.Add(PutName{.parent = plan.from_parent->ino,
                       .ino = plan.replaced->ino,
                       .name = plan.from_name});
  }
  for (const Rekeying& rekeying : rekeyings) {
    if (!rekeying.copied.has_value()) continue;
    commit.Add(
        SetContent{.ino = rekeying.inode->ino, .extents = {*rekeying.copied}});
  }
  return commit.Finish();
}

absl::Status Volume::Rename(uint64_t parent, absl::string_view name,
                            uint64_t new_parent, absl::string_view new_name,
                            uint32_t flags) {
  if (read_only()) return PosixError(EROFS);
  absl::MutexLock commit_lock(&core_.commit_mu);
  RenamePlan plan;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(
        plan, PlanRename(parent, name, new_parent, new_name, flags));
  }
  if (plan.nothing_to_do) return absl::OkStatus();
  return CommitRename(plan);
}

absl::Status Volume::ReadDirectory(
    uint64_t ino, uint64_t cookie, bool reference,
    const std::function<bool(const Entry&)>& visit) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const Inode* directory, FindDirectory(ino));
  if (cookie < 1 && !visit({".", StatOf(*directory), 1})) {
    return absl::OkStatus();
  }
  if (cookie < 2 && !visit({"..", StatOf(*directory->parent()), 2})) {
    return absl::OkStatus();
  }
  for (const Name* name = directory->directory().After(cookie); name != nullptr;
       name = directory->directory().After(name->cookie)) {
    if (!visit({name->text(), StatOf(*name->inode), name->cookie})) break;
    if (reference) {
      name->inode->kernel_references.fetch_add(1, std::memory_order_relaxed);
    }
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
