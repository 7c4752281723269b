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
#include "fs/volume/lookup.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

// The longest list that the kernel passes on.
constexpr size_t kMaxXattrList = 65536;

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
       {absl::string_view("user."), kTrustedPrefix,
        absl::string_view("security.")}) {
    if (name == prefix) return PosixError(EINVAL);
    if (absl::StartsWith(name, prefix)) return absl::OkStatus();
  }
  // The kernel would never use an attribute in another namespace.
  return PosixError(EOPNOTSUPP);
}

// The most bytes of all attributes of an inode: four values of the largest
// size.
constexpr size_t kMaxXattrTotal = size_t{256} << 10;

// The sizes of an inode's attributes.
struct XattrSizes {
  size_t list = 0;   // names, as in a list
  size_t total = 0;  // names and values
};

absl::StatusOr<XattrSizes> SizesOf(const TreeReader& reader, uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const auto xattrs, reader.AllXattrs(ino));
  XattrSizes sizes;
  for (const auto& [name, value] : xattrs) {
    sizes.list += name.size() + 1;
    sizes.total += name.size() + value.size();
  }
  return sizes;
}

// OK if `flags` allow setting the attribute, and there is room for it. `old` is
// its present value.
absl::Status CheckSet(const TreeReader& reader, uint64_t ino,
                      absl::string_view name, absl::string_view value,
                      const std::optional<std::string>& old, int flags) {
  if (old.has_value() && (flags & XATTR_CREATE) != 0) {
    return PosixError(EEXIST);
  }
  if (!old.has_value() && (flags & XATTR_REPLACE) != 0) {
    return PosixError(ENODATA);
  }
  VARVE_ASSIGN_OR_RETURN(const XattrSizes sizes, SizesOf(reader, ino));
  if (!old.has_value() && sizes.list + name.size() + 1 > kMaxXattrList) {
    return PosixError(ENOSPC);
  }
  const size_t given_back = old.has_value() ? name.size() + old->size() : 0;
  const bool fits =
      sizes.total - given_back + name.size() + value.size() <= kMaxXattrTotal;
  return fits ? absl::OkStatus() : PosixError(ENOSPC);
}

// An inode whose extended attributes will change.
struct Target {
  PutInode put;
  bool is_orphan = false;
};

// Sets an attribute (or removes it, if there is no value), and the mode.
absl::Status CommitXattr(Core& core, const Target& target,
                         absl::string_view name,
                         std::optional<absl::string_view> value)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  const PutInode& put = target.put;
  std::vector<Change> changes = {put};
  if (value.has_value()) {
    changes.emplace_back(
        SetXattr{.ino = put.ino, .name = name, .value = *value});
  } else {
    absl::ReaderMutexLock lock(&core.tree_mu);
    const TreeReader& reader =
        target.is_orphan ? core.orphans.reader() : core.reader();
    VARVE_ASSIGN_OR_RETURN(const auto old, reader.FindXattr(put.ino, name));
    if (old.has_value()) {
      changes.emplace_back(DropXattr{.ino = put.ino, .name = name});
    }
  }
  return CommitChanges(core, target.is_orphan, changes, put.attributes.ctime);
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
  Target target;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
    const TreeReader& reader = core_.ReaderOf(inode);
    VARVE_ASSIGN_OR_RETURN(const auto old, reader.FindXattr(ino, name));
    VARVE_RETURN_IF_ERROR(CheckSet(reader, ino, name, value, old, flags));
    if (acl.has_value() && inode.is_symlink()) return PosixError(EOPNOTSUPP);
    if (name == kDefaultAclName && !inode.is_directory()) {
      return PosixError(EACCES);
    }
    if (old == value) return absl::OkStatus();
    target = {.put = {.ino = ino, .attributes = inode.attributes},
              .is_orphan = inode.is_orphan};
  }
  Attributes& a = target.put.attributes;
  a.ctime = options_.now();
  if (name != kAccessAclName) return CommitXattr(core_, target, name, value);
  a.mode = acl->ApplyToMode(a.mode);
  if (drop_set_group_id) a.mode &= ~static_cast<uint32_t>(S_ISGID);
  if (acl->IsJustMode()) return CommitXattr(core_, target, name, std::nullopt);
  return CommitXattr(core_, target, name, value);
}

absl::StatusOr<std::string> Volume::GetXattr(uint64_t ino,
                                             absl::string_view name) {
  VARVE_RETURN_IF_ERROR(CheckName(name));
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  return fs::FindXattr(core_.ReaderOf(inode), ino, name);
}

absl::StatusOr<std::string> Volume::ListXattrs(uint64_t ino, bool trusted) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  return ListXattrNames(core_.ReaderOf(inode), ino, trusted);
}

absl::Status Volume::RemoveXattr(uint64_t ino, absl::string_view name) {
  if (read_only()) return PosixError(EROFS);
  VARVE_RETURN_IF_ERROR(CheckName(name));
  absl::MutexLock commit_lock(&core_.commit_mu);
  Target target;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
    VARVE_ASSIGN_OR_RETURN(const auto value,
                           core_.ReaderOf(inode).FindXattr(ino, name));
    if (!value.has_value()) {
      // Removing an access control list that is not there succeeds.
      return IsAcl(name) ? absl::OkStatus() : PosixError(ENODATA);
    }
    target = {.put = {.ino = ino, .attributes = inode.attributes},
              .is_orphan = inode.is_orphan};
  }
  target.put.attributes.ctime = options_.now();
  return CommitXattr(core_, target, name, std::nullopt);
}

}  // namespace varve::fs
