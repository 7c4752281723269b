#include "fs/volume/deleted_files.h"

#include <errno.h>

#include <algorithm>
#include <optional>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/volume/inodes_in_use.h"
#include "fs/volume/list_names.h"
#include "fs/volume/lookup.h"
#include "fs/volume/past_files.h"

namespace varve::fs {

absl::Status DeletedFiles::WithNames(absl::FunctionRef<absl::Status()> use) {
  while (true) {
    // Between two parts, a compaction can end.
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    absl::MutexLock lock(&mu_);
    VARVE_ASSIGN_OR_RETURN(const bool is_all, names_.Update());
    if (!is_all) continue;
    return use();
  }
}

absl::StatusOr<DeletedFiles::Found> DeletedFiles::Find(uint64_t id) const {
  VARVE_ASSIGN_OR_RETURN(const auto found,
                         names_.tree().Find(id, names_.newest()));
  if (!found.has_value()) return PosixError(ESTALE);
  return *found;
}

absl::Status DeletedFiles::With(
    uint64_t id, absl::FunctionRef<absl::Status(const Found&)> use) {
  return WithNames([&]() -> absl::Status {
    mu_.AssertHeld();
    VARVE_ASSIGN_OR_RETURN(const Found found, Find(id));
    return use(found);
  });
}

Stat DeletedFiles::StatOf(const Found& found) const {
  Stat stat = ToStat(found.inode);
  stat.ino = found.id;
  // What else has the same inode is not known here, nor how many directories
  // there are to be found in this one.
  stat.nlink = 1;
  stat.attributes.generation = found.generation;
  return stat;
}

absl::StatusOr<Stat> DeletedFiles::GetAttributes(uint64_t id) {
  if (id == kRoot) {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const InodeItem root,
                           core_.reader().GetInode(kRootIno));
    Stat stat = ToStat(root);
    stat.ino = kRoot;
    stat.nlink = 1;
    stat.attributes.mtime = stat.attributes.ctime = Timestamp::Now();
    return stat;
  }
  Stat stat;
  VARVE_RETURN_IF_ERROR(With(id, [&](const Found& found) {
    mu_.AssertHeld();
    stat = StatOf(found);
    return absl::OkStatus();
  }));
  return stat;
}

absl::StatusOr<Stat> DeletedFiles::Lookup(uint64_t parent,
                                          absl::string_view name) {
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  std::optional<Stat> stat;
  VARVE_RETURN_IF_ERROR(With(parent, [&](const Found& above) -> absl::Status {
    mu_.AssertHeld();
    if (name == ".") {
      stat = StatOf(above);
      return absl::OkStatus();
    }
    if (!above.inode.is_directory()) return PosixError(ENOTDIR);
    const DeletedTree& tree = names_.tree();
    const absl::StatusOr<std::optional<Found>> found =
        name == ".." ? tree.Find(tree.ParentOf(parent), names_.newest())
                     : tree.FindIn(parent, name, names_.newest());
    if (found.ok() && found->has_value()) stat = StatOf(**found);
    return found.status();
  }));
  if (!stat.has_value()) return PosixError(ENOENT);
  return *stat;
}

absl::Status DeletedFiles::ReadDirectory(
    uint64_t id, uint64_t cookie,
    absl::FunctionRef<bool(absl::string_view name, const Stat& stat,
                           uint64_t cookie)>
        visit) {
  return With(id, [&](const Found& directory) -> absl::Status {
    mu_.AssertHeld();
    if (!directory.inode.is_directory()) return PosixError(ENOTDIR);
    const DeletedTree& tree = names_.tree();
    if (cookie < 1 && !visit(".", StatOf(directory), 1)) {
      return absl::OkStatus();
    }
    if (cookie < kCookieBehindDots) {
      VARVE_ASSIGN_OR_RETURN(const Found above, Find(tree.ParentOf(id)));
      if (!visit("..", StatOf(above), kCookieBehindDots)) {
        return absl::OkStatus();
      }
    }
    // Numbers of names are above those of the dots.
    return tree.ForEachIn(id, cookie, names_.newest(), [&](const Found& found) {
      mu_.AssertHeld();
      return visit(found.name, StatOf(found), found.id);
    });
  });
}

absl::StatusOr<std::string> DeletedFiles::ReadSymlink(uint64_t id) {
  std::string target;
  VARVE_RETURN_IF_ERROR(With(id, [&](const Found& found) -> absl::Status {
    VARVE_ASSIGN_OR_RETURN(target,
                           ReadTarget(content_, *found.tree, found.inode));
    return absl::OkStatus();
  }));
  return target;
}

absl::StatusOr<std::string> DeletedFiles::GetXattr(uint64_t id,
                                                   absl::string_view name) {
  if (id == kRoot) {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    return FindXattr(core_.reader(), kRootIno, name);
  }
  absl::StatusOr<std::string> value;
  VARVE_RETURN_IF_ERROR(With(id, [&](const Found& found) {
    value = FindXattr(*found.tree, found.inode.ino, name);
    return absl::OkStatus();
  }));
  return value;
}

absl::StatusOr<std::string> DeletedFiles::ListXattrs(uint64_t id,
                                                     bool trusted) {
  if (id == kRoot) {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    return ListXattrNames(core_.reader(), kRootIno, trusted);
  }
  absl::StatusOr<std::string> names;
  VARVE_RETURN_IF_ERROR(With(id, [&](const Found& found) {
    names = ListXattrNames(*found.tree, found.inode.ino, trusted);
    return absl::OkStatus();
  }));
  return names;
}

absl::StatusOr<ReadReply> DeletedFiles::Read(uint64_t id, uint64_t offset,
                                             uint64_t size) {
  core_.store->NoteServed(size);
  while (true) {
    std::optional<Extent> unchecked;
    {
      absl::ReaderMutexLock relocation(&core_.relocation_mu);
      // Several may read at once, as long as nothing has to be taken in.
      absl::ReaderMutexLock lock(&mu_);
      if (names_.IsKept()) {
        VARVE_ASSIGN_OR_RETURN(const Found found, Find(id));
        auto reply = content_.ReadFrom(*found.tree, found.inode.ino, offset,
                                       size, &unchecked);
        if (!unchecked.has_value()) return reply;
      }
    }
    if (unchecked.has_value()) {
      content_.CheckLong(*unchecked);
    } else {
      VARVE_RETURN_IF_ERROR(WithNames([] { return absl::OkStatus(); }));
    }
  }
}

absl::StatusOr<uint64_t> DeletedFiles::Seek(uint64_t id, uint64_t offset,
                                            int whence) {
  uint64_t result = 0;
  VARVE_RETURN_IF_ERROR(With(id, [&](const Found& found) -> absl::Status {
    VARVE_ASSIGN_OR_RETURN(result,
                           SeekIn(*found.tree, found.inode, offset, whence));
    return absl::OkStatus();
  }));
  return result;
}

}  // namespace varve::fs
