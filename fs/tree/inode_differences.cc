#include "fs/tree/inode_differences.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace varve::fs {
namespace {

// Whether users see a difference, apart from the size. PathDifference says what
// does not count.
bool AttributesDiffer(const Attributes& a, const Attributes& b) {
  return a.mode != b.mode || a.uid != b.uid || a.gid != b.gid ||
         a.rdev != b.rdev || (!S_ISDIR(a.mode) && a.mtime != b.mtime);
}

// Calls `decode` with the values of both trees, as far as there are any, and
// puts the results into the lists.
template <typename Decode, typename T>
absl::Status DecodeBoth(const ItemDifference& item, Decode decode,
                        std::vector<T>* before, std::vector<T>* after) {
  if (item.before.has_value()) {
    VARVE_ASSIGN_OR_RETURN(T decoded, decode(*item.before));
    before->push_back(std::move(decoded));
  }
  if (item.after.has_value()) {
    VARVE_ASSIGN_OR_RETURN(T decoded, decode(*item.after));
    after->push_back(std::move(decoded));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> PathMaker::PathIn(uint64_t directory,
                                              absl::string_view name) {
  if (directory_ != directory) {
    VARVE_ASSIGN_OR_RETURN(const InodeItem inode, tree_->GetInode(directory));
    VARVE_ASSIGN_OR_RETURN(path_, tree_->PathOf(inode));
    directory_ = directory;
  }
  return absl::StrCat(path_, path_.empty() ? "" : "/", name);
}

InodeDifference CompareInodes(const InodeItem& before, const InodeItem& after,
                              std::vector<Extent> old_extents,
                              std::vector<Extent> new_extents) {
  InodeDifference difference = {.ino = after.ino};
  const uint64_t old_size = before.attributes.size;
  const uint64_t new_size = after.attributes.size;
  if (before.whole_entry != after.whole_entry || old_size != new_size) {
    if (before.whole_entry.has_value()) {
      old_extents.push_back(before.WholeExtent());
    }
    if (after.whole_entry.has_value()) {
      new_extents.push_back(after.WholeExtent());
    }
  }
  const ContentDifference content = CompareExtents(old_extents, new_extents);
  difference.content = content.differs || old_size != new_size;
  difference.new_bytes = content.new_bytes;
  difference.attributes = AttributesDiffer(before.attributes, after.attributes);
  return difference;
}

absl::StatusOr<InodeDifferences> InodeDifferences::Find(
    const TreeReader& before, const TreeReader& after, NodeSharing sharing) {
  InodeDifferences found(before, after);
  const absl::Status status =
      DiffTrees(before.items(), after.items(), sharing,
                [&found](const ItemDifference& item) -> absl::StatusOr<bool> {
                  VARVE_RETURN_IF_ERROR(found.Add(item));
                  return true;
                });
  VARVE_RETURN_IF_ERROR(status);
  VARVE_RETURN_IF_ERROR(found.Finish());
  return found;
}

InodeDifference InodeDifferences::Of(uint64_t ino) const {
  const auto it = std::lower_bound(
      inodes_.begin(), inodes_.end(), ino,
      [](const InodeDifference& inode, uint64_t n) { return inode.ino < n; });
  if (it == inodes_.end() || it->ino != ino) return {.ino = ino};
  return *it;
}

absl::Status InodeDifferences::Add(const ItemDifference& item) {
  VARVE_ASSIGN_OR_RETURN(const ItemKey key, ParseKey(item.key));
  if (key.ino != pending_.ino) {
    VARVE_RETURN_IF_ERROR(Finish());
    pending_.ino = key.ino;
  }
  return AddItem(key, item);
}

absl::Status InodeDifferences::AddItem(const ItemKey& key,
                                       const ItemDifference& item) {
  switch (key.kind) {
    case ItemKind::kInode:
      pending_.inode_differs = true;
      if (item.before.has_value()) {
        VARVE_ASSIGN_OR_RETURN(pending_.old_inode,
                               DecodeInode(key.ino, *item.before));
      }
      if (item.after.has_value()) {
        VARVE_ASSIGN_OR_RETURN(pending_.new_inode,
                               DecodeInode(key.ino, *item.after));
      }
      return absl::OkStatus();
    case ItemKind::kName:
      return DecodeBoth(
          item,
          [&key](absl::string_view value) -> absl::StatusOr<Name> {
            VARVE_ASSIGN_OR_RETURN(const NameItem name,
                                   DecodeName(key.name, value));
            return Name{std::string(name.text), name.ino, name.type};
          },
          &pending_.old_names, &pending_.new_names);
    case ItemKind::kXattr:
      pending_.xattrs = true;
      return absl::OkStatus();
    case ItemKind::kExtent:
      return DecodeBoth(
          item,
          [&key](absl::string_view value) {
            return DecodeExtentItem(key.file_offset, value);
          },
          &pending_.old_extents, &pending_.new_extents);
    // These follow from the others, or are not of files.
    case ItemKind::kHash:
    case ItemKind::kLink:
    case ItemKind::kTotals:
    case ItemKind::kUnfinished:
    case ItemKind::kSnapshot:
    case ItemKind::kKeptFrom:
    case ItemKind::kPolicy:
    case ItemKind::kPurge:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status InodeDifferences::FinishNames() {
  std::vector<Name>& old_names = pending_.old_names;
  std::vector<Name>& new_names = pending_.new_names;
  const auto is_before = [](const Name& a, const Name& b) {
    return std::tie(a.text, a.ino) < std::tie(b.text, b.ino);
  };
  std::sort(old_names.begin(), old_names.end(), is_before);
  std::sort(new_names.begin(), new_names.end(), is_before);
  auto old_name = old_names.begin();
  auto new_name = new_names.begin();
  while (old_name != old_names.end() || new_name != new_names.end()) {
    const bool has_old =
        old_name != old_names.end() &&
        (new_name == new_names.end() || !is_before(*new_name, *old_name));
    const bool has_new =
        new_name != new_names.end() &&
        (old_name == old_names.end() || !is_before(*old_name, *new_name));
    // A name that both have was dropped and put at another place.
    if (has_old && !has_new) {
      VARVE_ASSIGN_OR_RETURN(std::string path,
                             old_paths_.PathIn(pending_.ino, old_name->text));
      removed_.push_back({old_name->ino, old_name->type, std::move(path)});
    } else if (has_new && !has_old) {
      VARVE_ASSIGN_OR_RETURN(std::string path,
                             new_paths_.PathIn(pending_.ino, new_name->text));
      added_.push_back({new_name->ino, new_name->type, std::move(path)});
    }
    if (has_old) ++old_name;
    if (has_new) ++new_name;
  }
  return absl::OkStatus();
}

absl::Status InodeDifferences::Finish() {
  VARVE_RETURN_IF_ERROR(FinishNames());
  const Pending inode = std::exchange(pending_, Pending());
  InodeDifference difference = {.ino = inode.ino};
  if (inode.inode_differs) {
    // What came or went is told by its names.
    if (!inode.old_inode.has_value() || !inode.new_inode.has_value()) {
      return absl::OkStatus();
    }
    difference = CompareInodes(*inode.old_inode, *inode.new_inode,
                               inode.old_extents, inode.new_extents);
  } else {
    const ContentDifference content =
        CompareExtents(inode.old_extents, inode.new_extents);
    difference.content = content.differs;
    difference.new_bytes = content.new_bytes;
  }
  difference.xattrs = inode.xattrs;
  if (difference.any()) inodes_.push_back(difference);
  return absl::OkStatus();
}

}  // namespace varve::fs
