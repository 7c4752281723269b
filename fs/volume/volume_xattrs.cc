// Extended attributes and access control lists.

#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/format/acl.h"
#include "fs/log/commit.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

// What the kernel passes on in one list.
constexpr size_t kMaxXattrList = 65536;

constexpr absl::string_view kTrusted = "trusted.";

bool IsAcl(absl::string_view name) {
  return name == kAccessAclName || name == kDefaultAclName;
}

absl::Status CheckName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxXattrNameSize ||
      name.find('\0') != absl::string_view::npos) {
    return PosixError(ERANGE);
  }
  if (IsAcl(name)) return absl::OkStatus();
  for (const absl::string_view prefix :
       {absl::string_view("user."), kTrusted, absl::string_view("security.")}) {
    if (name == prefix) return PosixError(EINVAL);
    if (absl::StartsWith(name, prefix)) return absl::OkStatus();
  }
  // Nobody would look at it; better to say so than to keep it idly.
  return PosixError(EOPNOTSUPP);
}

// Whether the attribute may be set as `flags` ask, and there is room for it.
absl::Status CheckSet(const Inode& inode, absl::string_view name, int flags) {
  const bool exists = inode.FindXattr(name) != nullptr;
  if (exists && (flags & XATTR_CREATE) != 0) return PosixError(EEXIST);
  if (exists) return absl::OkStatus();
  if ((flags & XATTR_REPLACE) != 0) return PosixError(ENODATA);
  size_t list_size = name.size() + 1;
  if (inode.detail != nullptr) {
    for (const auto& [other, value] : inode.detail->xattrs) {
      list_size += other.size() + 1;
    }
  }
  return list_size > kMaxXattrList ? PosixError(ENOSPC) : absl::OkStatus();
}

// All of one inode together, as they are kept in memory: four values of the
// largest size.
constexpr size_t kMaxXattrTotal = size_t{256} << 10;

size_t XattrBytes(const Inode& inode) {
  size_t total = 0;
  if (inode.detail == nullptr) return total;
  for (const auto& [name, value] : inode.detail->xattrs) {
    total += name.size() + value.size();
  }
  return total;
}

// Changes an attribute (removes it if there is no value), and the mode.
absl::Status CommitXattr(Core& core, const PutInode& put,
                         absl::string_view name,
                         std::optional<absl::string_view> value)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  bool exists;
  {
    absl::MutexLock lock(&core.tree_mu);
    const auto orphan = core.orphans.find(put.ino);
    if (orphan != core.orphans.end()) {
      // Known to those who still have it open, and gone with them.
      Inode& inode = *orphan->second;
      inode.attributes = put.attributes;
      if (inode.detail == nullptr) {
        inode.detail = std::make_unique<InodeDetail>();
      }
      if (value.has_value()) {
        inode.detail->xattrs[std::string(name)] = std::string(*value);
      } else {
        inode.detail->xattrs.erase(std::string(name));
      }
      return absl::OkStatus();
    }
    exists = core.tree.Find(put.ino)->FindXattr(name) != nullptr;
  }
  Commit commit(core, put.attributes.ctime);
  commit.Add(put);
  if (value.has_value()) {
    commit.Add(SetXattr{.ino = put.ino, .name = name, .value = *value});
  } else if (exists) {
    commit.Add(DropXattr{.ino = put.ino, .name = name});
  }
  return commit.Finish();
}

}  // namespace

absl::Status Volume::SetXattr(uint64_t ino, absl::string_view name,
                              absl::string_view value, int flags,
                              bool drop_set_group_id) {
  if (read_only()) return PosixError(EROFS);
  VARVE_RETURN_IF_ERROR(CheckName(name));
  if (value.size() > kMaxXattrValueSize) return PosixError(E2BIG);
  std::optional<Acl> acl;
  if (IsAcl(name)) {
    acl = Acl::Decode(value);
    if (!acl.has_value()) return PosixError(EINVAL);
  }
  absl::MutexLock commit_lock(&core_.commit_mu);
  PutInode put{.ino = ino};
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* inode = core_.FindInode(ino);
    if (inode == nullptr) return PosixError(ENOENT);
    VARVE_RETURN_IF_ERROR(CheckSet(*inode, name, flags));
    if (acl.has_value() && inode->is_symlink()) return PosixError(EOPNOTSUPP);
    if (name == kDefaultAclName && !inode->is_directory()) {
      return PosixError(EACCES);
    }
    const std::string* old = inode->FindXattr(name);
    if (old != nullptr && *old == value) return absl::OkStatus();
    if (XattrBytes(*inode) - (old == nullptr ? 0 : name.size() + old->size()) +
            name.size() + value.size() >
        kMaxXattrTotal) {
      return PosixError(ENOSPC);
    }
    put.attributes = inode->attributes;
  }
  put.attributes.ctime = options_.now();
  if (name != kAccessAclName) return CommitXattr(core_, put, name, value);
  put.attributes.mode = acl->ApplyToMode(put.attributes.mode);
  if (drop_set_group_id) {
    put.attributes.mode &= ~static_cast<uint32_t>(S_ISGID);
  }
  if (acl->IsJustMode()) return CommitXattr(core_, put, name, std::nullopt);
  return CommitXattr(core_, put, name, value);
}

absl::StatusOr<std::string> Volume::GetXattr(uint64_t ino,
                                             absl::string_view name) {
  VARVE_RETURN_IF_ERROR(CheckName(name));
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const Inode* inode = core_.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  const std::string* value = inode->FindXattr(name);
  if (value == nullptr) return PosixError(ENODATA);
  return *value;
}

absl::StatusOr<std::string> Volume::ListXattrs(uint64_t ino, bool trusted) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const Inode* inode = core_.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  std::string names;
  if (inode->detail == nullptr) return names;
  for (const auto& [name, value] : inode->detail->xattrs) {
    if (!trusted && absl::StartsWith(name, kTrusted)) continue;
    names.append(name).push_back('\0');
  }
  return names;
}

absl::Status Volume::RemoveXattr(uint64_t ino, absl::string_view name) {
  if (read_only()) return PosixError(EROFS);
  VARVE_RETURN_IF_ERROR(CheckName(name));
  absl::MutexLock commit_lock(&core_.commit_mu);
  PutInode put{.ino = ino};
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* inode = core_.FindInode(ino);
    if (inode == nullptr) return PosixError(ENOENT);
    if (inode->FindXattr(name) == nullptr) {
      // To remove a list is to set an empty one.
      return IsAcl(name) ? absl::OkStatus() : PosixError(ENODATA);
    }
    put.attributes = inode->attributes;
  }
  put.attributes.ctime = options_.now();
  return CommitXattr(core_, put, name, std::nullopt);
}

}  // namespace varve::fs
