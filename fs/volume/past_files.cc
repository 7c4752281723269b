#include "fs/volume/past_files.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/history/moment_names.h"
#include "fs/history/purge.h"
#include "fs/log/moments.h"
#include "fs/volume/inodes_in_use.h"
#include "fs/volume/list_names.h"
#include "fs/volume/lookup.h"

namespace varve::fs {

absl::StatusOr<uint64_t> PastFiles::Resolve(absl::string_view text,
                                            Timestamp now) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const MomentLocation place,
                         ResolveMoment(core_, text, now));
  return place.sequence;
}

absl::StatusOr<std::vector<MomentAt>> PastFiles::LastMoments(
    const std::vector<Timestamp>& times) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  return FindMomentsAt(core_, times);
}

std::shared_ptr<PastFiles::OpenMoment> PastFiles::Find(uint64_t moment) {
  absl::MutexLock lock(&mu_);
  const auto it = std::find_if(
      open_.begin(), open_.end(),
      [moment](const auto& open) { return open->moment == moment; });
  if (it != open_.end()) {
    open_.splice(open_.begin(), open_, it);
  } else {
    open_.push_front(std::make_shared<OpenMoment>(moment));
    if (open_.size() > kMostOpen) open_.pop_back();
  }
  return open_.front();
}

absl::StatusOr<std::shared_ptr<const PastTree>> PastFiles::Use(
    uint64_t moment) {
  const std::shared_ptr<OpenMoment> open = Find(moment);
  absl::MutexLock lock(&open->mu);
  // Read first: what is forgotten from here on is looked for at the next use.
  const uint64_t changes = core_.moment_changes.load();
  const bool has_moved = open->relocations != core_.relocations;
  if (open->tree != nullptr && !has_moved && open->changes == changes) {
    return open->tree;
  }
  const absl::StatusOr<MomentLocation> place = FindKeptMoment(core_, moment);
  if (absl::IsNotFound(place.status())) {
    open->tree = nullptr;
    return PosixError(ESTALE);
  }
  VARVE_RETURN_IF_ERROR(place.status());
  VARVE_ASSIGN_OR_RETURN(const std::vector<PurgedPath> purged,
                         ReadPurgedPaths(core_));
  if (open->tree == nullptr || has_moved || open->purged != purged.size()) {
    open->tree = nullptr;
    VARVE_ASSIGN_OR_RETURN(
        open->tree,
        PastTree::Open(core_.store.get(), core_.identity, *place, purged));
  }
  open->purged = purged.size();
  open->relocations = core_.relocations;
  open->changes = changes;
  return open->tree;
}

absl::StatusOr<InodeItem> PastFiles::GetInode(const PastTree& past,
                                              uint64_t ino) const {
  VARVE_ASSIGN_OR_RETURN(const auto inode, past.reader().FindInode(ino));
  VARVE_RETURN_IF_ERROR(past.tree()->segments.CheckLength());
  if (!inode.has_value()) return PosixError(ENOENT);
  return *inode;
}

absl::StatusOr<Stat> PastFiles::GetAttributes(uint64_t moment, uint64_t ino) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto past, Use(moment));
  VARVE_ASSIGN_OR_RETURN(const InodeItem inode, GetInode(*past, ino));
  return ToStat(inode);
}

absl::StatusOr<Stat> PastFiles::Lookup(uint64_t moment, uint64_t parent,
                                       absl::string_view name) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto past, Use(moment));
  VARVE_ASSIGN_OR_RETURN(InodeItem inode, GetInode(*past, parent));
  if (name == ".") return ToStat(inode);
  if (!inode.is_directory()) return PosixError(ENOTDIR);
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (name == "..") {
    VARVE_ASSIGN_OR_RETURN(inode, GetInode(*past, ParentOf(inode)));
    return ToStat(inode);
  }
  VARVE_ASSIGN_OR_RETURN(const auto found,
                         past->reader().FindName(parent, name));
  VARVE_RETURN_IF_ERROR(past->tree()->segments.CheckLength());
  if (!found.has_value()) return PosixError(ENOENT);
  VARVE_ASSIGN_OR_RETURN(inode, past->reader().GetInode(found->ino));
  return ToStat(inode);
}

absl::Status PastFiles::ReadDirectory(
    uint64_t moment, uint64_t ino, uint64_t cookie,
    absl::FunctionRef<bool(absl::string_view name, const Stat& stat,
                           uint64_t cookie)>
        visit) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto past, Use(moment));
  VARVE_ASSIGN_OR_RETURN(const InodeItem directory, GetInode(*past, ino));
  if (!directory.is_directory()) return PosixError(ENOTDIR);
  const TreeReader& tree = past->reader();
  const absl::Status listed = ListNames(
      tree, directory, cookie,
      [&](const ListedName& name) -> absl::StatusOr<bool> {
        uint64_t of = name.text == "." ? ino : ParentOf(directory);
        if (name.item != nullptr) of = name.item->ino;
        VARVE_ASSIGN_OR_RETURN(const InodeItem inode, tree.GetInode(of));
        return visit(name.text, ToStat(inode), name.cookie);
      });
  VARVE_RETURN_IF_ERROR(past->tree()->segments.CheckLength());
  return listed;
}

absl::StatusOr<std::string> PastFiles::ReadSymlink(uint64_t moment,
                                                   uint64_t ino) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto past, Use(moment));
  VARVE_ASSIGN_OR_RETURN(const InodeItem inode, GetInode(*past, ino));
  return ReadTarget(content_, past->reader(), inode);
}

absl::StatusOr<std::string> PastFiles::GetXattr(uint64_t moment, uint64_t ino,
                                                absl::string_view name) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto past, Use(moment));
  return FindXattr(past->reader(), ino, name);
}

absl::StatusOr<std::string> PastFiles::ListXattrs(uint64_t moment, uint64_t ino,
                                                  bool trusted) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto past, Use(moment));
  return ListXattrNames(past->reader(), ino, trusted);
}

absl::StatusOr<ReadReply> PastFiles::Read(uint64_t moment, uint64_t ino,
                                          uint64_t offset, uint64_t size) {
  core_.store->NoteServed(size);
  while (true) {
    std::optional<Extent> unchecked;
    {
      absl::ReaderMutexLock relocation(&core_.relocation_mu);
      VARVE_ASSIGN_OR_RETURN(const auto past, Use(moment));
      auto reply =
          content_.ReadFrom(past->reader(), ino, offset, size, &unchecked);
      if (!unchecked.has_value()) return reply;
    }
    content_.CheckLong(*unchecked);
  }
}

absl::StatusOr<uint64_t> PastFiles::Seek(uint64_t moment, uint64_t ino,
                                         uint64_t offset, int whence) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const auto past, Use(moment));
  VARVE_ASSIGN_OR_RETURN(const InodeItem inode, GetInode(*past, ino));
  return SeekIn(past->reader(), inode, offset, whence);
}

absl::StatusOr<std::string> ReadTarget(ContentReader& content,
                                       const TreeReader& tree,
                                       const InodeItem& inode) {
  if (!inode.is_symlink()) return PosixError(EINVAL);
  if (inode.attributes.size > kMaxTargetSize) {
    return DamageError("the target of a symlink is too long");
  }
  VARVE_ASSIGN_OR_RETURN(
      const ReadReply target,
      content.ReadFrom(tree, inode.ino, 0, kMaxTargetSize, nullptr));
  return target.Copy();
}

absl::StatusOr<uint64_t> SeekIn(const TreeReader& tree, const InodeItem& inode,
                                uint64_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return PosixError(EINVAL);
  if (offset >= inode.attributes.size) return PosixError(ENXIO);
  if (whence == SEEK_HOLE) return tree.NextHole(inode, offset);
  VARVE_ASSIGN_OR_RETURN(const uint64_t data, tree.NextData(inode, offset));
  if (data >= inode.attributes.size) return PosixError(ENXIO);
  return data;
}

}  // namespace varve::fs
