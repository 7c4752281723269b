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

absl::Status Renamer::CheckReplaced(const Plan& plan) {
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
  return absl::OkStatus();
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
  Plan plan{.from_name = name, .to_name = new_name};
  plan.exchange = flags == RENAME_EXCHANGE;
  plan.whiteout = (flags & RENAME_WHITEOUT) != 0;
  VARVE_ASSIGN_OR_RETURN(plan.from_parent, FindDirectory(core_, parent));
  VARVE_ASSIGN_OR_RETURN(plan.to_parent, FindDirectory(core_, new_parent));
  for (const absl::string_view n : {name, new_name}) {
    if (n == "." || n == "..") return PosixError(EBUSY);
  }
  VARVE_ASSIGN_OR_RETURN(plan.moved, FindNamed(core_, parent, name));
  plan.replaced = core_.tree.Lookup(*plan.to_parent, new_name);
  if (plan.replaced == nullptr) {
    if (plan.exchange) return PosixError(ENOENT);
    VARVE_RETURN_IF_ERROR(CheckFree(core_, new_parent, new_name));
  } else if ((flags & RENAME_NOREPLACE) != 0) {
    return PosixError(EEXIST);
  }
  // A directory must not come to lie in itself.
  if (plan.moved->is_directory() &&
      Tree::IsWithin(*plan.to_parent, *plan.moved)) {
    return PosixError(EINVAL);
  }
  if (plan.replaced == nullptr) return plan;
  VARVE_RETURN_IF_ERROR(CheckReplaced(plan));
  // Two names of one file: POSIX says that nothing happens.
  plan.nothing_to_do = plan.moved == plan.replaced;
  return plan;
}

Renamer::Rekeying Renamer::PlanRekeying(const Inode& inode,
                                        const Inode& from_parent,
                                        absl::string_view from_name,
                                        const Inode& to_parent,
                                        absl::string_view to_name,
                                        const Inode* replaced) const {
  Rekeying plan{.inode = &inode};
  // The first name decides the key; what other names do is no matter of it.
  if (!inode.is_regular() || inode.names->parent != &from_parent ||
      inode.names->text() != from_name) {
    return plan;
  }
  plan.leaves_key = true;
  if (inode.whole_entry == Inode::kNone) return plan;
  plan.new_hash = KeyHashOfPath(Tree::PathIn(to_parent, to_name));
  if (core_.store->Find(EntryKey::OfHash(plan.new_hash)) ==
      inode.WholeExtent().entry_metadata_offset()) {
    // It lies under that key already, having been there before.
    plan.leaves_key = false;
    return plan;
  }
  const bool owns_newest =
      replaced != nullptr && OwnsNewest(*core_.store, *replaced, plan.new_hash);
  if (inode.attributes.size <= kMaxCopiedByRename) {
    // Damage must not be given a fresh checksum: such a file is moved by
    // reference, and stays damaged.
    auto bytes = core_.store->View(inode.whole_entry, inode.attributes.size);
    if (bytes.ok() && !IsAllZeros(bytes->bytes) &&
        reader_.VerifyAll(inode.ino).ok() &&
        MayLieUnderPath(core_, plan.new_hash, owns_newest,
                        HeadOf({bytes->bytes}))) {
      plan.payload = *std::move(bytes);
    }
  }
  return plan;
}

void Renamer::AddNames(const Plan& plan, Caller caller, Commit& commit) {
  const uint64_t whiteout = plan.whiteout ? commit.NewIno() : 0;
  commit.Add(DropName{.parent = plan.from_parent->ino, .name = plan.from_name});
  if (plan.replaced != nullptr) {
    commit.Add(DropName{.parent = plan.to_parent->ino, .name = plan.to_name});
    if (plan.removes()) commit.Add(DropInode{.ino = plan.replaced->ino});
  }
  if (plan.whiteout) {
    // As overlay file systems mark what is hidden: a device of number 0. Its
    // name comes first, and keeps the place that it has had.
    commit.Add(
        PutInode{.ino = whiteout,
                 .attributes = NewAttributes(S_IFCHR, caller, commit.time())});
    commit.Add(PutName{.parent = plan.from_parent->ino,
                       .ino = whiteout,
                       .name = plan.from_name});
  }
  commit.Add(PutName{.parent = plan.to_parent->ino,
                     .ino = plan.moved->ino,
                     .name = plan.to_name});
  if (plan.exchange) {
    commit.Add(PutName{.parent = plan.from_parent->ino,
                       .ino = plan.replaced->ino,
                       .name = plan.from_name});
  }
}

absl::Status Renamer::CommitPlan(const Plan& plan, Caller caller, Timestamp now,
                                 bool from_reserve) {
  std::vector<Rekeying> rekeyings = {
      PlanRekeying(*plan.moved, *plan.from_parent, plan.from_name,
                   *plan.to_parent, plan.to_name, plan.replaced)};
  if (plan.exchange) {
    rekeyings.push_back(PlanRekeying(*plan.replaced, *plan.to_parent,
                                     plan.to_name, *plan.from_parent,
                                     plan.from_name, plan.moved));
  }
  Commit commit(core_, now);
  if (from_reserve) {
    commit.UseReserve();
    // What it moves stays where it is, as a large file does.
    for (Rekeying& rekeying : rekeyings) rekeying.payload = {};
  }
  // Tombstones first: they must not hide what is written under the same key.
  if (plan.removes()) AddTombstoneOf(*core_.store, *plan.replaced, commit);
  for (const Rekeying& rekeying : rekeyings) {
    if (!rekeying.leaves_key) continue;
    AddTombstoneOf(*core_.store, *rekeying.inode, commit);
  }
  for (Rekeying& rekeying : rekeyings) {
    if (rekeying.payload.bytes.empty()) continue;
    rekeying.copied =
        commit.AddEntry(rekeying.new_hash, {rekeying.payload.bytes});
  }
  AddNames(plan, caller, commit);
  for (const Rekeying& rekeying : rekeyings) {
    if (!rekeying.copied.has_value()) continue;
    commit.Add(
        SetContent{.ino = rekeying.inode->ino, .extents = {*rekeying.copied}});
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
  const bool replaces = plan.replaced != nullptr && !plan.exchange;
  if (!IsOutOfSpace(status) || !replaces) return status;
  return CommitPlan(plan, caller, now, /*from_reserve=*/true);
}

}  // namespace varve::fs
