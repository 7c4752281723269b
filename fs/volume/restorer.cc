#include "fs/volume/restorer.h"

#include <errno.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/log/content_key.h"

namespace varve::fs {
namespace {

std::vector<absl::string_view> PartsOf(absl::string_view path) {
  return absl::StrSplit(path, '/', absl::SkipEmpty());
}

absl::StatusOr<std::vector<Extent>> ExtentsOf(const TreeReader& tree,
                                              const InodeItem& inode) {
  std::vector<Extent> extents;
  VARVE_RETURN_IF_ERROR(
      tree.ForEachExtent(inode, 0, kMaxFileSize, [&](const Extent& extent) {
        extents.push_back(extent);
        return true;
      }));
  return extents;
}

// Whether they are the same bytes, wherever they lie.
bool SameBytes(const Extent& a, const Extent& b) {
  return a.file_offset == b.file_offset && a.length == b.length &&
         a.entry_offset == b.entry_offset && a.entry_size == b.entry_size &&
         a.entry_crc32 == b.entry_crc32 && a.key_hash == b.key_hash;
}

// But for the times that restoring itself, or reading, changes.
bool SameAttributes(Attributes a, Attributes b) {
  a.atime = b.atime = Timestamp();
  a.ctime = b.ctime = Timestamp();
  return a == b;
}

// As only in a hostile store.
absl::Status LiesInItself(uint64_t ino) {
  return DamageError(absl::StrCat("directory ", ino, " is in two places"));
}

}  // namespace

absl::Status Restorer::Plan(uint64_t next_ino) {
  next_ino_ = next_ino;
  absl::ReaderMutexLock lock(&core_.tree_mu);
  return PlanLocked();
}

absl::Status Restorer::PlanLocked() {
  VARVE_ASSIGN_OR_RETURN(const auto past,
                         past_.reader().Resolve(request_.from));
  if (!past.has_value()) {
    return SystemError(ENOENT, absl::StrCat("'", request_.from,
                                            "' did not exist at that moment"));
  }
  VARVE_ASSIGN_OR_RETURN(const Target target, FindTarget());
  VARVE_RETURN_IF_ERROR(Restore(*past, target));
  // Each may add further ones to the end; those that there are do not move.
  for (size_t i = 0; i < merges_.size(); ++i) {
    VARVE_RETURN_IF_ERROR(RestoreNames(merges_[i]));
    if (request_.delete_others) {
      VARVE_RETURN_IF_ERROR(RemoveOthers(merges_[i]));
    }
  }
  for (const Merge& merge : merges_) {
    VARVE_RETURN_IF_ERROR(RestoreAttributes(merge));
  }
  return absl::OkStatus();
}

absl::StatusOr<Restorer::Target> Restorer::FindTarget() {
  const std::vector<absl::string_view> parts = PartsOf(request_.to);
  Target target;
  VARVE_ASSIGN_OR_RETURN(target.inode, core_.reader().FindInode(kRootIno));
  std::string path;
  bool is_new = false;
  uint64_t directory = kRootIno;
  for (const absl::string_view part : parts) {
    if (!IsValidName(part)) {
      return SystemError(EINVAL,
                         absl::StrCat("'", part, "' is no name of a file"));
    }
    if (target.inode.has_value() && !target.inode->is_directory()) {
      return SystemError(ENOTDIR,
                         absl::StrCat("'", path, "' is not a directory"));
    }
    if (!target.inode.has_value() && target.parent != 0) {
      VARVE_ASSIGN_OR_RETURN(directory,
                             MakeParent(path, target.parent, target.name));
      is_new = true;
    }
    target.parent = directory;
    target.name = std::string(part);
    target.inode.reset();
    absl::StrAppend(&path, path.empty() ? "" : "/", part);
    if (is_new) continue;
    VARVE_ASSIGN_OR_RETURN(const auto name,
                           core_.reader().FindName(directory, part));
    if (!name.has_value()) continue;
    VARVE_ASSIGN_OR_RETURN(target.inode, core_.reader().FindInode(name->ino));
    directory = name->ino;
  }
  return target;
}

absl::StatusOr<uint64_t> Restorer::MakeParent(absl::string_view path,
                                              uint64_t parent,
                                              absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(const auto past, past_.reader().Resolve(path));
  if (!past.has_value() || !past->is_directory()) {
    return SystemError(
        ENOENT, absl::StrCat("the directory '", path, "' does not exist"));
  }
  ++report_.made;
  return Make(*past, {.parent = parent, .name = std::string(name)});
}

absl::StatusOr<uint64_t> Restorer::Make(const InodeItem& past,
                                        const Target& target) {
  const uint64_t ino = NewIno();
  const PutInode put = {.ino = ino, .attributes = past.attributes};
  changes_.push_back(put);
  VARVE_RETURN_IF_ERROR(AddContent(past, ino));
  VARVE_RETURN_IF_ERROR(AddXattrs(past.ino, ino));
  AddName(target, ino);
  attributes_.push_back(put);
  return ino;
}

absl::Status Restorer::AddContent(const InodeItem& past, uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const auto extents, ExtentsOf(past_.reader(), past));
  SetContent set = {.ino = ino};
  for (Extent extent : extents) {
    // Others may have the entry, too: the past in any case.
    extent.shared = true;
    set.extents.push_back(extent);
    report_.bytes += extent.length;
  }
  if (!set.extents.empty()) changes_.push_back(std::move(set));
  return absl::OkStatus();
}

void Restorer::AddName(const Target& target, uint64_t ino) {
  changes_.push_back(
      PutName{.parent = target.parent, .ino = ino, .name = Keep(target.name)});
  names_.emplace_back(target.parent, target.name);
  changed_directories_.insert(target.parent);
}

absl::Status Restorer::AddXattrs(uint64_t past_ino, uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const auto xattrs, past_.reader().AllXattrs(past_ino));
  for (const auto& [name, value] : xattrs) {
    changes_.push_back(
        SetXattr{.ino = ino, .name = Keep(name), .value = Keep(value)});
  }
  return absl::OkStatus();
}

absl::Status Restorer::Restore(const InodeItem& past, const Target& target) {
  return past.is_directory() ? RestoreDirectory(past, target)
                             : RestoreFile(past, target);
}

absl::Status Restorer::RestoreDirectory(const InodeItem& past,
                                        const Target& target) {
  if (!seen_.insert(past.ino).second) return LiesInItself(past.ino);
  if (target.inode.has_value() && target.inode->is_directory()) {
    merges_.push_back({.past = past,
                       .directory = target.inode->ino,
                       .present = target.inode});
    return absl::OkStatus();
  }
  if (target.inode.has_value()) {
    VARVE_RETURN_IF_ERROR(Remove(target));
    ++report_.replaced;
  }
  ++report_.made;
  VARVE_ASSIGN_OR_RETURN(const uint64_t ino, Make(past, target));
  merges_.push_back({.past = past, .directory = ino});
  return absl::OkStatus();
}

absl::Status Restorer::RestoreNames(const Merge& merge) {
  absl::Status status;
  VARVE_RETURN_IF_ERROR(past_.reader().ForEachNameAfter(
      {.directory = merge.past.ino, .place = 0}, [&](const NameItem& name) {
        core_.tree_mu.AssertReaderHeld();
        status = [&]() -> absl::Status {
          VARVE_ASSIGN_OR_RETURN(const InodeItem child,
                                 past_.reader().GetInode(name.ino));
          Target target = {.parent = merge.directory,
                           .name = std::string(name.text)};
          if (merge.present.has_value()) {
            VARVE_ASSIGN_OR_RETURN(
                const auto found,
                core_.reader().FindName(merge.directory, name.text));
            if (found.has_value()) {
              VARVE_ASSIGN_OR_RETURN(target.inode,
                                     core_.reader().FindInode(found->ino));
            }
          }
          return Restore(child, target);
        }();
        return status.ok();
      }));
  return status;
}

absl::Status Restorer::RestoreAttributes(const Merge& merge) {
  if (!merge.present.has_value()) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const bool differ,
                         RestoreXattrs(merge.past.ino, merge.directory));
  if (differ || changed_directories_.contains(merge.directory) ||
      !SameAttributes(merge.past.attributes, merge.present->attributes)) {
    attributes_.push_back(
        PutInode{.ino = merge.directory, .attributes = merge.past.attributes});
    names_.emplace_back(merge.directory, "");
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Restorer::RestoreXattrs(uint64_t past_ino,
                                             uint64_t present_ino) {
  VARVE_ASSIGN_OR_RETURN(const auto was, past_.reader().AllXattrs(past_ino));
  VARVE_ASSIGN_OR_RETURN(const auto now, core_.reader().AllXattrs(present_ino));
  if (was == now) return false;
  for (const auto& [name, value] : now) {
    changes_.push_back(DropXattr{.ino = present_ino, .name = Keep(name)});
  }
  VARVE_RETURN_IF_ERROR(AddXattrs(past_ino, present_ino));
  return true;
}

absl::StatusOr<bool> Restorer::IsSame(const InodeItem& past,
                                      const InodeItem& present) {
  if (!SameAttributes(past.attributes, present.attributes)) return false;
  VARVE_ASSIGN_OR_RETURN(const auto xattrs, past_.reader().AllXattrs(past.ino));
  VARVE_ASSIGN_OR_RETURN(const auto now, core_.reader().AllXattrs(present.ino));
  if (xattrs != now) return false;
  VARVE_ASSIGN_OR_RETURN(const auto before, ExtentsOf(past_.reader(), past));
  VARVE_ASSIGN_OR_RETURN(const auto after, ExtentsOf(core_.reader(), present));
  if (before.size() != after.size()) return false;
  for (size_t i = 0; i < before.size(); ++i) {
    if (!SameBytes(before[i], after[i])) return false;
  }
  return true;
}

absl::Status Restorer::RestoreFile(const InodeItem& past,
                                   const Target& target) {
  if (target.parent == 0) {
    return SystemError(EINVAL, "the root of the tree cannot become a file");
  }
  if (target.inode.has_value()) {
    if (target.inode->is_directory() && !request_.delete_others) {
      return SystemError(
          EISDIR,
          absl::StrCat("'", target.name,
                       "' is a directory now, and was a file; give --delete "
                       "to replace it"));
    }
    VARVE_ASSIGN_OR_RETURN(const bool same, IsSame(past, *target.inode));
    if (same) {
      ++report_.unchanged;
      // Its other names are to be names of the same file.
      restored_.try_emplace(past.ino, target.inode->ino);
      return absl::OkStatus();
    }
    VARVE_RETURN_IF_ERROR(Remove(target));
    ++report_.replaced;
  } else {
    ++report_.made;
  }
  const auto [it, is_first] = restored_.try_emplace(past.ino, 0);
  if (is_first) {
    VARVE_ASSIGN_OR_RETURN(const auto linked, FindLinked(past));
    if (!linked.has_value()) {
      VARVE_ASSIGN_OR_RETURN(it->second, Make(past, target));
      return absl::OkStatus();
    }
    it->second = *linked;
  }
  ++links_[it->second].added;
  AddName(target, it->second);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<uint64_t>> Restorer::FindLinked(
    const InodeItem& past) {
  if (past.nlink() < 2) return std::optional<uint64_t>();
  VARVE_ASSIGN_OR_RETURN(const auto present,
                         core_.reader().FindInode(past.ino));
  if (!present.has_value() || present->nlink() >= kMaxLinks) {
    return std::optional<uint64_t>();
  }
  // The plan may have removed its last name already.
  if (links_[past.ino].removed >= present->nlink()) {
    return std::optional<uint64_t>();
  }
  VARVE_ASSIGN_OR_RETURN(const bool same, IsSame(past, *present));
  return same ? std::optional(past.ino) : std::nullopt;
}

absl::Status Restorer::RemoveOthers(const Merge& merge) {
  if (!merge.present.has_value()) return absl::OkStatus();
  absl::Status status;
  VARVE_RETURN_IF_ERROR(core_.reader().ForEachNameAfter(
      {.directory = merge.directory, .place = 0}, [&](const NameItem& name) {
        core_.tree_mu.AssertReaderHeld();
        status = [&]() -> absl::Status {
          VARVE_ASSIGN_OR_RETURN(
              const auto was,
              past_.reader().FindName(merge.past.ino, name.text));
          if (was.has_value()) return absl::OkStatus();
          VARVE_ASSIGN_OR_RETURN(const InodeItem inode,
                                 core_.reader().GetInode(name.ino));
          ++report_.removed;
          return Remove({.parent = merge.directory,
                         .name = std::string(name.text),
                         .inode = inode});
        }();
        return status.ok();
      }));
  return status;
}

absl::Status Restorer::Remove(const Target& target) {
  // Each directory comes before what is in it.
  std::vector<Target> all = {target};
  absl::flat_hash_set<uint64_t> seen;
  for (size_t i = 0; i < all.size(); ++i) {
    const uint64_t ino = all[i].inode->ino;
    if (!all[i].inode->is_directory()) continue;
    if (!seen.insert(ino).second) return LiesInItself(ino);
    absl::Status status;
    VARVE_RETURN_IF_ERROR(core_.reader().ForEachNameAfter(
        {.directory = ino, .place = 0}, [&](const NameItem& name) {
          core_.tree_mu.AssertReaderHeld();
          const absl::StatusOr<InodeItem> child =
              core_.reader().GetInode(name.ino);
          status = child.status();
          if (status.ok()) {
            all.push_back({.parent = ino,
                           .name = std::string(name.text),
                           .inode = *child});
          }
          return status.ok();
        }));
    VARVE_RETURN_IF_ERROR(status);
  }
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    VARVE_RETURN_IF_ERROR(RemoveOne(*it));
  }
  return absl::OkStatus();
}

absl::Status Restorer::RemoveOne(const Target& target) {
  const InodeItem& inode = *target.inode;
  changes_.push_back(
      DropName{.parent = target.parent, .name = Keep(target.name)});
  names_.emplace_back(target.parent, target.name);
  changed_directories_.insert(target.parent);
  Links& links = links_[inode.ino];
  ++links.removed;
  if (!inode.is_directory() && links.removed < inode.nlink() + links.added) {
    return absl::OkStatus();
  }
  VARVE_ASSIGN_OR_RETURN(const auto key, KeyOfContent(core_, inode));
  if (key.has_value()) hidden_.push_back(*key);
  changes_.push_back(DropInode{.ino = inode.ino});
  return absl::OkStatus();
}

void Restorer::AddTo(Commit& commit) const {
  for (const EntryKeys& keys : hidden_) commit.AddTombstone(keys);
  for (const Change& change : changes_) commit.Add(change);
  for (const Change& change : attributes_) commit.Add(change);
}

}  // namespace varve::fs
