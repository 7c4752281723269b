#include "fs/volume/renamer.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/zeros.h"
#include "fs/base/error.h"
#include "fs/log/commit.h"
#include "fs/log/content_key.h"
#include "fs/volume/lookup.h"

namespace varve::fs {
namespace {

// Plain files up to this size are copied to their new key when renamed.
constexpr uint64_t kMaxCopiedByRename = uint64_t{64} << 10;

}  // namespace

absl::Status Renamer::CheckReplaced(const Plan& plan) const {
  const LiveInode& moved = plan.moved.inode;
  const LiveInode& replaced = plan.replaced->inode;
  if (plan.exchange) {
    if (!replaced.is_directory()) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(
        const bool is_within,
        core_.reader().IsWithin(plan.from_parent, replaced.ino));
    return is_within ? PosixError(EINVAL) : absl::OkStatus();
  }
  if (moved.ino == replaced.ino) return absl::OkStatus();
  if (moved.is_directory() && !replaced.is_directory()) {
    return PosixError(ENOTDIR);
  }
  if (!moved.is_directory() && replaced.is_directory()) {
    return PosixError(EISDIR);
  }
  return replaced.name_count > 0 ? PosixError(ENOTEMPTY) : absl::OkStatus();
}

absl::StatusOr<Renamer::Plan> Renamer::MakePlan(uint64_t parent,
                                                absl::string_view name,
                                                uint64_t new_parent,
                                                absl::string_view new_name,
                                                uint32_t flags) const {
  constexpr uint32_t kKnown =
      RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
  if ((flags & ~kKnown) != 0 ||
      ((flags & RENAME_EXCHANGE) != 0 && flags != RENAME_EXCHANGE)) {
    return PosixError(EINVAL);
  }
  Plan plan;
  plan.from_name = name;
  plan.to_name = new_name;
  plan.exchange = flags == RENAME_EXCHANGE;
  plan.whiteout = (flags & RENAME_WHITEOUT) != 0;
  VARVE_ASSIGN_OR_RETURN(plan.from_parent, FindDirectory(core_, parent));
  VARVE_ASSIGN_OR_RETURN(plan.to_parent, FindDirectory(core_, new_parent));
  for (const absl::string_view n : {name, new_name}) {
    if (n == "." || n == "..") return PosixError(EBUSY);
  }
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  VARVE_ASSIGN_OR_RETURN(const auto moved,
                         FindName(core_, plan.from_parent, name));
  if (!moved.has_value()) return PosixError(ENOENT);
  plan.moved = *moved;
  VARVE_ASSIGN_OR_RETURN(plan.replaced,
                         FindName(core_, plan.to_parent, new_name));
  if (!plan.replaced.has_value()) {
    if (plan.exchange) return PosixError(ENOENT);
    VARVE_RETURN_IF_ERROR(CheckFree(core_, new_parent, new_name));
  } else if ((flags & RENAME_NOREPLACE) != 0) {
    return PosixError(EEXIST);
  }
  // A directory must not come to lie in itself.
  if (plan.moved.inode.is_directory()) {
    VARVE_ASSIGN_OR_RETURN(
        const bool is_within,
        core_.reader().IsWithin(plan.to_parent, plan.moved.inode.ino));
    if (is_within) return PosixError(EINVAL);
  }
  if (!plan.replaced.has_value()) return plan;
  VARVE_RETURN_IF_ERROR(CheckReplaced(plan));
  // If both are names of one file, POSIX says that nothing happens.
  plan.nothing_to_do = plan.moved.inode.ino == plan.replaced->inode.ino;
  return plan;
}

absl::StatusOr<Renamer::Target> Renamer::FindTarget(
    const LiveInode& inode, const LiveInode& to_parent,
    absl::string_view to_name) const {
  Target place;
  place.rekeying.ino = inode.ino;
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(place.rekeying.old_key, KeyOfContent(core_, inode));
  if (!inode.whole_entry.has_value()) return place;
  VARVE_ASSIGN_OR_RETURN(const std::string path,
                         core_.reader().PathIn(to_parent, to_name));
  place.rekeying.new_hash = KeyHashOfPath(path);
  if (inode.whole_entry->key_hash == place.rekeying.new_hash &&
      core_.store->Find(EntryKey::OfHash(place.rekeying.new_hash)) ==
          inode.WholeExtent().entry_metadata_offset()) {
    // The file lies under that key already, because it had this path before.
    place.rekeying.old_key.reset();
    return place;
  }
  place.is_plain = true;
  return place;
}

absl::StatusOr<Renamer::Rekeying> Renamer::PlanRekeying(
    const FoundName& file, const LiveInode& to_parent,
    absl::string_view to_name) const {
  const LiveInode& inode = file.inode;
  // Only the first name decides the key.
  if (!inode.is_regular() || inode.first_name != file.place) return Rekeying();
  VARVE_ASSIGN_OR_RETURN(Target place, FindTarget(inode, to_parent, to_name));
  Rekeying& rekeying = place.rekeying;
  if (!place.is_plain || inode.attributes.size > kMaxCopiedByRename) {
    return std::move(rekeying);
  }
  // Damaged bytes must not get a new, valid checksum. So a damaged file keeps
  // its entry and key.
  auto bytes =
      core_.store->View(inode.whole_entry->store_offset, inode.attributes.size);
  if (bytes.ok() && !IsAllZeros(bytes->bytes) &&
      reader_.VerifyAll(inode.ino).ok() &&
      !core_.identity.Reserves(rekeying.new_hash, HeadOf({bytes->bytes}))) {
    rekeying.payload = *std::move(bytes);
  }
  return std::move(rekeying);
}

void Renamer::AddNames(const Plan& plan, Caller caller, Commit& commit) {
  const uint64_t whiteout = plan.whiteout ? commit.NewIno() : 0;
  commit.Add(DropName{.parent = plan.from_parent.ino, .name = plan.from_name});
  if (plan.replaced.has_value()) {
    commit.Add(DropName{.parent = plan.to_parent.ino, .name = plan.to_name});
    if (plan.removes()) commit.Add(DropInode{.ino = plan.replaced->inode.ino});
  }
  if (plan.whiteout) {
    // A whiteout is a device with number 0, by which overlay file systems hide
    // a name. Put its name first, so that it keeps the place of the old one.
    commit.Add(
        PutInode{.ino = whiteout,
                 .attributes = NewAttributes(S_IFCHR, caller, commit.time())});
    commit.Add(PutName{.parent = plan.from_parent.ino,
                       .ino = whiteout,
                       .name = plan.from_name});
  }
  commit.Add(PutName{.parent = plan.to_parent.ino,
                     .ino = plan.moved.inode.ino,
                     .name = plan.to_name});
  if (plan.exchange) {
    commit.Add(PutName{.parent = plan.from_parent.ino,
                       .ino = plan.replaced->inode.ino,
                       .name = plan.from_name});
  }
}

absl::Status Renamer::CommitPlan(const Plan& plan, Caller caller, Timestamp now,
                                 bool from_reserve) {
  std::vector<Rekeying> rekeyings(1);
  VARVE_ASSIGN_OR_RETURN(
      rekeyings[0], PlanRekeying(plan.moved, plan.to_parent, plan.to_name));
  if (plan.exchange) {
    VARVE_ASSIGN_OR_RETURN(
        rekeyings.emplace_back(),
        PlanRekeying(*plan.replaced, plan.from_parent, plan.from_name));
  }
  std::optional<EntryKeys> removed_key;
  if (plan.removes()) {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(removed_key,
                           KeyOfContent(core_, plan.replaced->inode));
  }
  Commit commit(core_, now);
  if (from_reserve) {
    commit.UseReserve();
    // Files keep their entries and keys, as large files do.
    for (Rekeying& rekeying : rekeyings) rekeying.payload = {};
  }
  // Tombstones come first, so that they do not hide what is written under the
  // same key.
  if (removed_key.has_value()) commit.AddTombstone(*removed_key);
  for (const Rekeying& rekeying : rekeyings) {
    // A data key means the same wherever the file is.
    const bool hides = rekeying.old_key.has_value() &&
                       (!rekeying.payload.bytes.empty() ||
                        !core_.identity.IsDataKey(rekeying.old_key->key_hash,
                                                  core_.next_data_id.load()));
    if (hides) commit.AddTombstone(*rekeying.old_key);
  }
  for (Rekeying& rekeying : rekeyings) {
    if (rekeying.payload.bytes.empty()) continue;
    rekeying.copied =
        commit.AddEntry(rekeying.new_hash, {rekeying.payload.bytes});
  }
  AddNames(plan, caller, commit);
  for (const Rekeying& rekeying : rekeyings) {
    if (!rekeying.copied.has_value()) continue;
    commit.Add(SetContent{.ino = rekeying.ino, .extents = {*rekeying.copied}});
  }
  return commit.Finish();
}

absl::Status Renamer::Rename(uint64_t parent, absl::string_view name,
                             uint64_t new_parent, absl::string_view new_name,
                             uint32_t flags, Caller caller, Timestamp now) {
  core_.commit_mu.AssertHeld();
  Plan plan;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(plan,
                           MakePlan(parent, name, new_parent, new_name, flags));
  }
  if (plan.nothing_to_do) return absl::OkStatus();
  const absl::Status status =
      CommitPlan(plan, caller, now, /*from_reserve=*/false);
  const bool replaces = plan.replaced.has_value() && !plan.exchange;
  if (!IsOutOfSpace(status) || !replaces) return status;
  return CommitPlan(plan, caller, now, /*from_reserve=*/true);
}

}  // namespace varve::fs
