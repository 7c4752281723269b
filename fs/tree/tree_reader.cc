#include "fs/tree/tree_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

absl::Status Contradiction(uint64_t ino, absl::string_view what) {
  return DamageError(absl::StrCat("inode ", ino, " of the tree ", what));
}

// Notices if a walk upwards from directory to directory goes in a circle, by
// comparing each directory with the one at the last step whose number was a
// power of two.
class UpwardWalk {
 public:
  // Returns false once the walk is in a circle.
  bool Enter(uint64_t directory) {
    if (directory == mark_) return false;
    if (++steps_ == next_mark_) {
      mark_ = directory;
      next_mark_ *= 2;
    }
    return true;
  }

 private:
  uint64_t mark_ = 0;
  uint64_t steps_ = 0;
  uint64_t next_mark_ = 1;
};

}  // namespace

absl::Status TreeReader::ForEachItem(
    absl::string_view first, absl::string_view prefix,
    absl::FunctionRef<absl::StatusOr<bool>(const ItemKey&, absl::string_view)>
        visit) const {
  LayeredCursor cursor(items_, prefix);
  absl::Status status = cursor.Seek(first);
  for (; status.ok() && cursor.valid(); status = cursor.Next()) {
    absl::StatusOr<ItemKey> key = ParseKey(cursor.key());
    if (!key.ok()) return key.status();
    const absl::StatusOr<bool> goes_on = visit(*key, cursor.value());
    if (!goes_on.ok()) return goes_on.status();
    if (!*goes_on) return absl::OkStatus();
  }
  return status;
}

uint64_t TreeReader::HashOf(absl::string_view name) const {
  return HashWithSeed(name, seed_);
}

absl::StatusOr<std::optional<InodeItem>> TreeReader::FindInode(
    uint64_t ino) const {
  absl::StatusOr<std::optional<absl::string_view>> value =
      items_->Get(InodeKey(ino));
  if (!value.ok()) return value.status();
  if (!value->has_value()) return std::optional<InodeItem>();
  absl::StatusOr<InodeItem> item = DecodeInode(ino, **value);
  if (!item.ok()) return item.status();
  return std::optional<InodeItem>(*std::move(item));
}

absl::StatusOr<InodeItem> TreeReader::GetInode(uint64_t ino) const {
  absl::StatusOr<std::optional<InodeItem>> inode = FindInode(ino);
  if (!inode.ok()) return inode.status();
  if (!inode->has_value()) return Contradiction(ino, "is missing");
  return **std::move(inode);
}

absl::StatusOr<NameItem> TreeReader::GetName(NamePlace place) const {
  absl::StatusOr<std::optional<absl::string_view>> value =
      items_->Get(NameKey(place));
  if (!value.ok()) return value.status();
  if (!value->has_value()) {
    return Contradiction(place.directory,
                         absl::StrCat("lacks a name at place ", place.place));
  }
  return DecodeName(place, **value);
}

absl::StatusOr<std::optional<NameItem>> TreeReader::FindName(
    uint64_t directory, absl::string_view name) const {
  std::optional<NameItem> found;
  const std::string prefix = HashKeyPrefix(directory, HashOf(name));
  absl::Status status = ForEachItem(
      prefix, prefix,
      [&](const ItemKey& key, absl::string_view) -> absl::StatusOr<bool> {
        absl::StatusOr<NameItem> item = GetName(key.name);
        if (!item.ok()) return item.status();
        if (item->text == name) found = *item;
        return !found.has_value();
      });
  if (!status.ok()) return status;
  return found;
}

absl::StatusOr<std::optional<InodeItem>> TreeReader::Resolve(
    absl::string_view path) const {
  absl::StatusOr<InodeItem> inode = GetInode(kRootIno);
  while (inode.ok() && !path.empty()) {
    if (!inode->is_directory()) return std::optional<InodeItem>();
    const size_t slash = path.find('/');
    absl::StatusOr<std::optional<NameItem>> name =
        FindName(inode->ino, path.substr(0, slash));
    if (!name.ok()) return name.status();
    if (!name->has_value()) return std::optional<InodeItem>();
    inode = GetInode((*name)->ino);
    path = slash == absl::string_view::npos ? "" : path.substr(slash + 1);
  }
  if (!inode.ok()) return inode.status();
  return std::optional<InodeItem>(*std::move(inode));
}

absl::Status TreeReader::ForEachNameAfter(
    NamePlace place, absl::FunctionRef<bool(const NameItem&)> visit) const {
  const std::string prefix = KeyPrefix(place.directory, ItemKind::kName);
  return ForEachItem(
      NameKey({.directory = place.directory, .place = place.place + 1}), prefix,
      [&](const ItemKey& key, absl::string_view value) -> absl::StatusOr<bool> {
        absl::StatusOr<NameItem> name = DecodeName(key.name, value);
        if (!name.ok()) return name.status();
        return visit(*name);
      });
}

absl::Status TreeReader::ForEachLink(
    const InodeItem& inode, absl::FunctionRef<bool(NamePlace)> visit) const {
  if (inode.first_name.place == 0) return absl::OkStatus();
  if (!visit(inode.first_name)) return absl::OkStatus();
  if (inode.is_directory()) return absl::OkStatus();
  const std::string prefix = KeyPrefix(inode.ino, ItemKind::kLink);
  return ForEachItem(
      prefix, prefix,
      [&](const ItemKey& key, absl::string_view) -> absl::StatusOr<bool> {
        return visit(key.name);
      });
}

absl::Status TreeReader::ForEachInode(
    absl::FunctionRef<bool(const InodeItem&)> visit) const {
  LayeredCursor cursor(items_);
  VARVE_RETURN_IF_ERROR(cursor.Seek(InodeKey(kRootIno)));
  while (cursor.valid()) {
    absl::StatusOr<ItemKey> key = ParseKey(cursor.key());
    if (!key.ok()) return key.status();
    const uint64_t ino = key->ino;
    if (key->kind != ItemKind::kInode) {
      return Contradiction(ino, "is missing, but has other items");
    }
    absl::StatusOr<InodeItem> inode = DecodeInode(ino, cursor.value());
    if (!inode.ok()) return inode.status();
    if (!visit(*inode)) return absl::OkStatus();
    // The items of a small inode are passed faster one by one than by a Seek().
    constexpr int kSteps = 8;
    const std::string next = InodeKey(ino + 1);
    for (int i = 0; i < kSteps && cursor.valid() && cursor.key() < next; ++i) {
      VARVE_RETURN_IF_ERROR(cursor.Next());
    }
    if (cursor.valid() && cursor.key() < next) {
      VARVE_RETURN_IF_ERROR(cursor.Seek(next));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TreeReader::PathOf(NamePlace name) const {
  std::vector<absl::string_view> parts;
  UpwardWalk walk;
  while (name.place != 0) {
    if (!walk.Enter(name.directory)) {
      return Contradiction(name.directory, "lies in itself");
    }
    absl::StatusOr<NameItem> item = GetName(name);
    if (!item.ok()) return item.status();
    parts.push_back(item->text);
    if (name.directory == kRootIno) break;
    absl::StatusOr<InodeItem> directory = GetInode(name.directory);
    if (!directory.ok()) return directory.status();
    name = directory->first_name;
  }
  std::string path;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    absl::StrAppend(&path, path.empty() ? "" : "/", *part);
  }
  return path;
}

absl::StatusOr<std::string> TreeReader::PathIn(const InodeItem& directory,
                                               absl::string_view name) const {
  absl::StatusOr<std::string> path = PathOf(directory);
  if (path.ok()) absl::StrAppend(&*path, path->empty() ? "" : "/", name);
  return path;
}

absl::StatusOr<bool> TreeReader::LiesInMoved(const InodeItem& inode) const {
  UpwardWalk walk;
  NamePlace name = inode.first_name;
  while (name.place != 0 && name.directory != kRootIno) {
    if (!walk.Enter(name.directory)) {
      return Contradiction(name.directory, "lies in itself");
    }
    absl::StatusOr<InodeItem> directory = GetInode(name.directory);
    if (!directory.ok()) return directory.status();
    if (directory->moved) return true;
    name = directory->first_name;
  }
  return false;
}

absl::StatusOr<bool> TreeReader::IsWithin(const InodeItem& inode,
                                          uint64_t directory) const {
  UpwardWalk walk;
  uint64_t ino = inode.ino;
  NamePlace name = inode.first_name;
  while (ino != directory) {
    if (ino == kRootIno || name.place == 0) return false;
    if (!walk.Enter(ino)) return Contradiction(ino, "lies in itself");
    ino = name.directory;
    absl::StatusOr<InodeItem> up = GetInode(ino);
    if (!up.ok()) return up.status();
    name = up->first_name;
  }
  return true;
}

absl::Status TreeReader::ForEachExtent(
    const InodeItem& inode, uint64_t begin, uint64_t end,
    absl::FunctionRef<bool(const Extent&)> visit) const {
  if (inode.whole_entry.has_value()) {
    const Extent whole = inode.WholeExtent();
    if (begin < whole.file_end() && begin < end) visit(whole);
    return absl::OkStatus();
  }
  if (inode.extent_count == 0 || begin >= end) return absl::OkStatus();
  // The first extent in the range begins at or before `begin`.
  const std::string prefix = KeyPrefix(inode.ino, ItemKind::kExtent);
  std::string first = ExtentKey(inode.ino, begin);
  absl::StatusOr<std::optional<LayeredTree::Found>> before =
      items_->FindAtOrBefore(first, prefix);
  if (!before.ok()) return before.status();
  if (before->has_value()) first = (*before)->key;
  uint64_t behind = 0;  // end of the extents so far
  return ForEachItem(
      first, prefix,
      [&](const ItemKey& key, absl::string_view value) -> absl::StatusOr<bool> {
        if (key.file_offset >= end) return false;
        absl::StatusOr<Extent> extent =
            DecodeExtentItem(key.file_offset, value);
        if (!extent.ok()) return extent.status();
        if (extent->file_offset < behind) {
          return Contradiction(inode.ino, "has extents that overlap");
        }
        behind = extent->file_end();
        return behind <= begin || visit(*extent);
      });
}

absl::StatusOr<std::vector<Extent>> TreeReader::Cover(const InodeItem& inode,
                                                      uint64_t begin,
                                                      uint64_t end) const {
  std::vector<Extent> result;
  uint64_t position = begin;
  absl::Status status =
      ForEachExtent(inode, begin, end, [&](const Extent& extent) {
        if (extent.file_offset > position) {
          result.push_back(
              Extent::Hole(position, extent.file_offset - position));
        }
        result.push_back(
            extent.Slice(std::max(position, extent.file_offset), end));
        position = result.back().file_end();
        return true;
      });
  if (!status.ok()) return status;
  if (position < end) result.push_back(Extent::Hole(position, end - position));
  return result;
}

absl::StatusOr<uint64_t> TreeReader::NextData(const InodeItem& inode,
                                              uint64_t offset) const {
  const uint64_t size = inode.attributes.size;
  uint64_t found = size;
  absl::Status status =
      ForEachExtent(inode, offset, size, [&](const Extent& extent) {
        found = std::min(size, std::max(offset, extent.file_offset));
        return false;
      });
  if (!status.ok()) return status;
  return found;
}

absl::StatusOr<uint64_t> TreeReader::NextHole(const InodeItem& inode,
                                              uint64_t offset) const {
  const uint64_t size = inode.attributes.size;
  absl::Status status =
      ForEachExtent(inode, offset, size, [&](const Extent& extent) {
        if (extent.file_offset > offset) return false;
        offset = extent.file_end();
        return true;
      });
  if (!status.ok()) return status;
  return std::min(size, offset);
}

absl::StatusOr<std::optional<std::string>> TreeReader::FindXattr(
    uint64_t ino, absl::string_view name) const {
  const std::string first = XattrKey(ino, name, 0);
  std::optional<std::string> found;
  absl::Status status = ForEachItem(
      first, absl::string_view(first).substr(0, first.size() - 1),
      [&](const ItemKey& key, absl::string_view part) -> absl::StatusOr<bool> {
        if (!found.has_value()) found.emplace();
        if (found->size() != key.chunk * kXattrChunkSize) {
          return Contradiction(ino,
                               "has an extended attribute with a missing part");
        }
        found->append(part.data(), part.size());
        return true;
      });
  if (!status.ok()) return status;
  return found;
}

absl::Status TreeReader::ForEachXattr(
    uint64_t ino, absl::FunctionRef<bool(absl::string_view)> visit) const {
  const std::string prefix = KeyPrefix(ino, ItemKind::kXattr);
  return ForEachItem(
      prefix, prefix,
      [&](const ItemKey& key, absl::string_view) -> absl::StatusOr<bool> {
        return key.chunk > 0 || visit(key.xattr);
      });
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>>
TreeReader::AllXattrs(uint64_t ino) const {
  std::vector<std::pair<std::string, std::string>> xattrs;
  absl::Status status;
  VARVE_RETURN_IF_ERROR(ForEachXattr(ino, [&](absl::string_view name) {
    absl::StatusOr<std::optional<std::string>> value = FindXattr(ino, name);
    status = value.status();
    if (!status.ok()) return false;
    // ForEachXattr() has found a part of the value, so it is there.
    xattrs.emplace_back(name, **std::move(value));
    return true;
  }));
  if (!status.ok()) return status;
  return xattrs;
}

absl::Status TreeReader::ForEachUnfinished(
    absl::FunctionRef<bool(uint64_t begin, uint64_t end)> visit) const {
  const std::string prefix = KeyPrefix(0, ItemKind::kUnfinished);
  return ForEachItem(
      prefix, prefix,
      [&](const ItemKey& key, absl::string_view value) -> absl::StatusOr<bool> {
        absl::StatusOr<uint64_t> end =
            DecodeUnfinished(key.unfinished_id, value);
        if (!end.ok()) return end.status();
        return visit(key.unfinished_id, *end);
      });
}

absl::Status TreeReader::ForEachSnapshot(
    absl::FunctionRef<bool(const SnapshotItem&)> visit) const {
  const std::string prefix = KeyPrefix(0, ItemKind::kSnapshot);
  return ForEachItem(
      prefix, prefix,
      [&](const ItemKey& key, absl::string_view value) -> absl::StatusOr<bool> {
        const absl::StatusOr<SnapshotItem> snapshot =
            DecodeSnapshot(key.snapshot, value);
        if (!snapshot.ok()) return snapshot.status();
        return visit(*snapshot);
      });
}

absl::StatusOr<std::optional<SnapshotItem>> TreeReader::FindSnapshot(
    absl::string_view name) const {
  if (!IsValidName(name)) return std::optional<SnapshotItem>();
  VARVE_ASSIGN_OR_RETURN(const auto value, items_->Get(SnapshotKey(name)));
  if (!value.has_value()) return std::optional<SnapshotItem>();
  return DecodeSnapshot(name, *value);
}

absl::StatusOr<uint64_t> TreeReader::KeptFrom() const {
  VARVE_ASSIGN_OR_RETURN(const auto value, items_->Get(KeptFromKey()));
  return value.has_value() ? DecodeKeptFrom(*value) : 0;
}

absl::StatusOr<std::optional<std::string>> TreeReader::Policy() const {
  VARVE_ASSIGN_OR_RETURN(const auto value, items_->Get(PolicyKey()));
  if (!value.has_value()) return std::optional<std::string>();
  return std::string(*value);
}

absl::StatusOr<std::vector<PurgedPath>> TreeReader::PurgedPaths() const {
  std::vector<PurgedPath> paths;
  const std::string prefix = KeyPrefix(0, ItemKind::kPurge);
  VARVE_RETURN_IF_ERROR(ForEachItem(
      prefix, prefix,
      [&](const ItemKey& key, absl::string_view value) -> absl::StatusOr<bool> {
        absl::StatusOr<PurgedPath> purged = DecodePurge(key.before, value);
        if (!purged.ok()) return purged.status();
        paths.push_back(*std::move(purged));
        return true;
      }));
  return paths;
}

}  // namespace varve::fs
