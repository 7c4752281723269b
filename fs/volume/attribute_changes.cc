#include "fs/volume/attribute_changes.h"

#include <errno.h>
#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/format/acl.h"
#include "fs/log/commit.h"

namespace varve::fs {
namespace {

// Seconds after which relatime counts a reading in any case.
constexpr int64_t kDay = 24 * 60 * 60;

constexpr absl::string_view kCapabilities = "security.capability";

// The mode without the bits that a write by an ordinary user takes away. A
// set-group-id bit without group execution says something else; it goes if the
// user is not of the file's group.
uint32_t WithoutPrivileges(uint32_t mode, bool drop_set_group_id) {
  if (S_ISDIR(mode)) return mode;
  mode &= ~static_cast<uint32_t>(S_ISUID);
  if ((mode & S_IXGRP) != 0 || drop_set_group_id) {
    mode &= ~static_cast<uint32_t>(S_ISGID);
  }
  return mode;
}

bool HasCapabilities(const Inode& inode) {
  return inode.FindXattr(kCapabilities) != nullptr;
}

// The access control list of a file after a chmod; empty if it has none.
std::string AclAfter(const Inode& inode, const AttributeRequest& request) {
  const std::string* value = inode.FindXattr(kAccessAclName);
  if (value == nullptr || !request.mode.has_value()) return {};
  std::optional<Acl> acl = Acl::Decode(*value);
  if (!acl.has_value()) return {};
  acl->ChangeMode(*request.mode);
  return acl->Encode();
}

void Update(const AttributeRequest& request, Timestamp now, Attributes& a) {
  if (request.uid.has_value() || request.gid.has_value() ||
      request.drop_privileges) {
    a.mode = WithoutPrivileges(a.mode, request.drop_set_group_id);
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

bool AttributeChanges::AccessTimeIsDue(const Inode& inode,
                                       Timestamp now) const {
  if (inode.is_directory() && !options_.directory_access_times) return false;
  if (options_.access_times == AccessTimes::kAlways) return true;
  const Attributes a = inodes_.StatOf(inode).attributes;
  return a.atime <= a.mtime || a.atime <= a.ctime ||
         now.ToTimespec().tv_sec - a.atime.ToTimespec().tv_sec >= kDay;
}

bool AttributeChanges::NoteAccess(uint64_t ino) {
  if (options_.access_times == AccessTimes::kNever) return false;
  const Timestamp now = options_.now();
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* inode = core_.FindInode(ino);
    if (inode == nullptr || !AccessTimeIsDue(*inode, now)) return false;
  }
  absl::MutexLock lock(&core_.tree_mu);
  if (const auto orphan = core_.orphans.find(ino);
      orphan != core_.orphans.end()) {
    orphan->second->attributes.atime = now;
    return true;
  }
  core_.tree.SetAccessTime(ino, now);
  core_.accessed.insert(ino);
  return true;
}

absl::Status AttributeChanges::CommitAccessTimes() {
  core_.commit_mu.AssertHeld();
  std::vector<PutInode> changed;
  {
    absl::MutexLock lock(&core_.tree_mu);
    for (const uint64_t ino : core_.accessed) {
      if (const Inode* inode = core_.tree.Find(ino)) {
        changed.push_back({.ino = ino, .attributes = inode->attributes});
      }
    }
    core_.accessed.clear();
  }
  if (changed.empty()) return absl::OkStatus();
  fs::Commit commit(core_, options_.now());
  for (const PutInode& put : changed) commit.Add(put);
  return commit.Finish();
}

void AttributeChanges::SetTimesOfDirty(uint64_t ino,
                                       const AttributeRequest& request,
                                       Timestamp now) {
  // Content that is still to be committed brings its own times with it.
  const auto open = open_files_.Find(ino);
  if (open == nullptr) return;
  absl::MutexLock lock(&open->stat_mu);
  if (request.mtime.has_value()) open->stat.mtime = *request.mtime;
  open->stat.ctime = now;
}

absl::Status AttributeChanges::Commit(uint64_t ino,
                                      const AttributeRequest& request) {
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Timestamp now = options_.now();
  PutInode put{.ino = ino};
  bool drop_capabilities = false;
  std::string acl;
  {
    absl::MutexLock lock(&core_.tree_mu);
    if (const auto orphan = core_.orphans.find(ino);
        orphan != core_.orphans.end()) {
      Inode& inode = *orphan->second;
      acl = AclAfter(inode, request);
      if (!acl.empty()) {
        inode.detail->xattrs[std::string(kAccessAclName)] = acl;
      }
      Update(request, now, inode.attributes);
      SetTimesOfDirty(ino, request, now);
      return absl::OkStatus();
    }
    const Inode* inode = core_.tree.Find(ino);
    if (inode == nullptr) return PosixError(ENOENT);
    put.attributes = inode->attributes;
    acl = AclAfter(*inode, request);
    drop_capabilities = HasCapabilities(*inode) &&
                        (request.uid.has_value() || request.gid.has_value() ||
                         request.drop_privileges);
  }
  Update(request, now, put.attributes);
  fs::Commit commit(core_, now);
  commit.Add(put);
  if (drop_capabilities) {
    commit.Add(DropXattr{.ino = ino, .name = kCapabilities});
  }
  if (!acl.empty()) {
    commit.Add(SetXattr{.ino = ino, .name = kAccessAclName, .value = acl});
  }
  VARVE_RETURN_IF_ERROR(commit.Finish());
  SetTimesOfDirty(ino, request, now);
  return absl::OkStatus();
}

absl::Status AttributeChanges::DropPrivileges(uint64_t ino,
                                              bool drop_set_group_id) {
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* inode = core_.FindInode(ino);
    if (inode == nullptr) return PosixError(ENOENT);
    const uint32_t mode = inode->attributes.mode;
    if (WithoutPrivileges(mode, drop_set_group_id) == mode &&
        !HasCapabilities(*inode)) {
      return absl::OkStatus();
    }
  }
  AttributeRequest request;
  request.drop_privileges = true;
  request.drop_set_group_id = drop_set_group_id;
  return Commit(ino, request);
}

}  // namespace varve::fs
