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

// Seconds after which relatime counts a read in any case.
constexpr int64_t kDay = 24 * 60 * 60;

constexpr absl::string_view kCapabilities = "security.capability";

// The mode without the bits that a write by an ordinary user clears. The
// set-group-id bit without group execution has another meaning; it is cleared
// only with `drop_set_group_id`, that is, if the user is not in the file's
// group.
uint32_t WithoutPrivileges(uint32_t mode, bool drop_set_group_id) {
  if (S_ISDIR(mode)) return mode;
  mode &= ~static_cast<uint32_t>(S_ISUID);
  if ((mode & S_IXGRP) != 0 || drop_set_group_id) {
    mode &= ~static_cast<uint32_t>(S_ISGID);
  }
  return mode;
}

absl::StatusOr<bool> HasCapabilities(const TreeReader& reader, uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const auto value,
                         reader.FindXattr(ino, kCapabilities));
  return value.has_value();
}

// The access control list of a file after a chmod; empty if it has none.
absl::StatusOr<std::string> AclAfter(const TreeReader& reader, uint64_t ino,
                                     const AttributeRequest& request) {
  if (!request.mode.has_value()) return std::string();
  VARVE_ASSIGN_OR_RETURN(const auto value,
                         reader.FindXattr(ino, kAccessAclName));
  if (!value.has_value()) return std::string();
  std::optional<Acl> acl = Acl::Decode(*value);
  if (!acl.has_value()) return std::string();
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

bool AttributeChanges::AccessTimeIsDue(const LiveInode& inode,
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
    const absl::StatusOr<LiveInode> inode = core_.GetInode(ino);
    if (!inode.ok() || !AccessTimeIsDue(*inode, now)) return false;
  }
  absl::MutexLock lock(&core_.tree_mu);
  absl::StatusOr<LiveInode> inode = core_.GetInode(ino);
  if (!inode.ok()) return false;
  if (!inode->is_orphan) {
    core_.accessed[ino] = now;
    return true;
  }
  inode->attributes.atime = now;
  return core_.orphans
      .Apply(PutInode{.ino = ino, .attributes = inode->attributes})
      .ok();
}

absl::Status AttributeChanges::CommitAccessTimes(size_t limit) {
  core_.commit_mu.AssertHeld();
  std::vector<PutInode> changed;
  {
    absl::MutexLock lock(&core_.tree_mu);
    while (!core_.accessed.empty() && changed.size() < limit) {
      const uint64_t ino = core_.accessed.begin()->first;
      const absl::StatusOr<LiveInode> inode = core_.GetNamed(ino);
      core_.accessed.erase(ino);
      if (!inode.ok() && ErrnoOf(inode.status()) == ENOENT) continue;
      VARVE_RETURN_IF_ERROR(inode.status());
      changed.push_back({.ino = ino, .attributes = inode->attributes});
    }
  }
  if (changed.empty()) return absl::OkStatus();
  fs::Commit commit(core_, options_.now());
  for (const PutInode& put : changed) commit.Add(put);
  return commit.Finish();
}

absl::Status AttributeChanges::CommitAccessTimesIfMany() {
  constexpr size_t kMany = 4096;
  constexpr size_t kAtOnce = 1000;
  while (true) {
    absl::MutexLock lock(&core_.commit_mu);
    {
      absl::ReaderMutexLock tree_lock(&core_.tree_mu);
      if (core_.accessed.size() <= kMany) return absl::OkStatus();
    }
    VARVE_RETURN_IF_ERROR(CommitAccessTimes(kAtOnce));
  }
}

void AttributeChanges::SetTimesOfDirty(uint64_t ino,
                                       const AttributeRequest& request,
                                       Timestamp now) {
  // The commit of dirty content sets times of its own, so change those, too.
  const auto open = open_files_.Find(ino);
  if (open == nullptr) return;
  absl::MutexLock lock(&open->stat_mu);
  if (request.mtime.has_value()) open->stat.mtime = *request.mtime;
  open->stat.ctime = now;
}

absl::StatusOr<AttributeChanges::Plan> AttributeChanges::MakePlan(
    uint64_t ino, const AttributeRequest& request, Timestamp now) const {
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  const TreeReader& reader = core_.ReaderOf(inode);
  Plan plan;
  plan.put = {.ino = ino, .attributes = inode.attributes};
  Update(request, now, plan.put.attributes);
  plan.is_orphan = inode.is_orphan;
  VARVE_ASSIGN_OR_RETURN(plan.acl, AclAfter(reader, ino, request));
  if (request.uid.has_value() || request.gid.has_value() ||
      request.drop_privileges) {
    VARVE_ASSIGN_OR_RETURN(plan.drop_capabilities,
                           HasCapabilities(reader, ino));
  }
  return plan;
}

absl::Status AttributeChanges::Commit(uint64_t ino,
                                      const AttributeRequest& request) {
  absl::MutexLock commit_lock(&core_.commit_mu);
  const Timestamp now = options_.now();
  Plan plan;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(plan, MakePlan(ino, request, now));
  }
  std::vector<Change> changes = {plan.put};
  if (plan.drop_capabilities) {
    changes.emplace_back(DropXattr{.ino = ino, .name = kCapabilities});
  }
  if (!plan.acl.empty()) {
    changes.emplace_back(
        SetXattr{.ino = ino, .name = kAccessAclName, .value = plan.acl});
  }
  VARVE_RETURN_IF_ERROR(CommitChanges(core_, plan.is_orphan, changes, now));
  SetTimesOfDirty(ino, request, now);
  return absl::OkStatus();
}

absl::Status AttributeChanges::DropPrivileges(uint64_t ino,
                                              bool drop_set_group_id) {
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
    const uint32_t mode = inode.attributes.mode;
    if (WithoutPrivileges(mode, drop_set_group_id) == mode) {
      VARVE_ASSIGN_OR_RETURN(const bool has_capabilities,
                             HasCapabilities(core_.ReaderOf(inode), ino));
      if (!has_capabilities) return absl::OkStatus();
    }
  }
  AttributeRequest request;
  request.drop_privileges = true;
  request.drop_set_group_id = drop_set_group_id;
  return Commit(ino, request);
}

}  // namespace varve::fs
