#include "fs/compaction/moved_tree.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/format/identity.h"

namespace varve::fs {

absl::StatusOr<std::vector<Extent>> MovedExtents(const TreeReader& tree,
                                                 const InodeItem& inode,
                                                 const Translation& translation,
                                                 bool keeps_sharing) {
  std::vector<Extent> extents;
  std::vector<Extent> unknown;
  absl::Status status;
  VARVE_RETURN_IF_ERROR(
      tree.ForEachExtent(inode, 0, kMaxFileSize, [&](const Extent& extent) {
        auto parts = translation.Translate(extent, &unknown);
        status = parts.status();
        if (!status.ok()) return false;
        for (Extent& part : *parts) {
          part.shared = part.shared && keeps_sharing;
          if (!extents.empty() && extents.back().IsContinuedBy(part)) {
            extents.back().length += part.length;
          } else {
            extents.push_back(part);
          }
        }
        return true;
      }));
  VARVE_RETURN_IF_ERROR(status);
  if (unknown.empty()) return extents;
  return absl::InternalError(
      absl::StrCat("content of inode ", inode.ino, " was not copied"));
}

void SetExtents(std::vector<Extent>* extents, InodeItem* inode) {
  inode->whole_entry.reset();
  inode->extent_count = 0;
  inode->extent_bytes = 0;
  if (extents->size() == 1 && extents->front().owns_entry() &&
      extents->front().file_offset == 0 &&
      extents->front().length == inode->attributes.size) {
    inode->whole_entry = WholeEntryOf(extents->front());
    extents->clear();
  }
  for (const Extent& extent : *extents) {
    ++inode->extent_count;
    inode->extent_bytes += extent.length;
  }
}

absl::StatusOr<std::vector<Extent>> MovedTree::NewExtents(
    const InodeItem& inode) const {
  VARVE_ASSIGN_OR_RETURN(
      std::vector<Extent> extents,
      MovedExtents(reader(), inode, translation_, /*keeps_sharing=*/false));
  if (!tree_->live->totals().may_have_clones) return extents;
  // Another file may decide about the key of the entry, or it is a data key.
  VARVE_ASSIGN_OR_RETURN(const std::string path, reader().PathOf(inode));
  const uint64_t own_key = KeyHashOfPath(path);
  for (Extent& extent : extents) extent.shared = extent.key_hash != own_key;
  return extents;
}

absl::StatusOr<InodeItem> MovedTree::Move(InodeItem inode,
                                          std::vector<Extent>* extents) const {
  extents->clear();
  if (!inode.whole_entry.has_value() && inode.extent_count == 0) return inode;
  const auto whole = exceptions_.whole.find(inode.ino);
  const bool is_whole = whole != exceptions_.whole.end();
  if (!is_whole && !exceptions_.emptied.contains(inode.ino)) {
    VARVE_ASSIGN_OR_RETURN(*extents, NewExtents(inode));
  }
  inode.patched = 0;
  SetExtents(extents, &inode);
  if (is_whole) inode.whole_entry = whole->second;
  return inode;
}

absl::Status MovedTree::Count() {
  TreeTotals totals = tree_->live->totals();
  totals.extents = 0;
  totals.data_bytes = 0;
  totals.may_have_clones = false;
  std::vector<Extent> extents;
  absl::Status status;
  VARVE_RETURN_IF_ERROR(reader().ForEachInode([&](const InodeItem& inode) {
    const absl::StatusOr<InodeItem> moved = Move(inode, &extents);
    status = moved.status();
    if (!status.ok()) return false;
    totals.extents += moved->extent_count;
    totals.data_bytes += moved->data_bytes();
    for (const Extent& extent : extents) {
      totals.may_have_clones |= extent.shared;
    }
    return true;
  }));
  VARVE_RETURN_IF_ERROR(status);
  totals_ = totals;
  return absl::OkStatus();
}

absl::Status MovedTree::ForEachItem(
    absl::FunctionRef<absl::Status(absl::string_view key,
                                   absl::string_view value)>
        add) {
  if (!totals_.has_value()) VARVE_RETURN_IF_ERROR(Count());
  // Of the inode that has come last, where they are in the order of keys.
  uint64_t ino = 0;
  std::vector<Extent> extents;
  const auto add_extents = [&]() -> absl::Status {
    for (const Extent& extent : extents) {
      VARVE_RETURN_IF_ERROR(
          add(ExtentKey(ino, extent.file_offset), EncodeExtentItem(extent)));
    }
    extents.clear();
    return absl::OkStatus();
  };
  std::optional<uint64_t> kept_from = exceptions_.kept_from;
  LayeredCursor cursor(&reader().items());
  absl::Status status = cursor.Seek({});
  for (; status.ok() && cursor.valid(); status = cursor.Next()) {
    VARVE_ASSIGN_OR_RETURN(const ItemKey key, ParseKey(cursor.key()));
    if (kept_from.has_value() && cursor.key() >= KeptFromKey()) {
      VARVE_RETURN_IF_ERROR(add(KeptFromKey(), EncodeKeptFrom(*kept_from)));
      kept_from.reset();
    }
    if (key.kind == ItemKind::kKeptFrom && exceptions_.kept_from.has_value()) {
      continue;
    }
    if (key.ino != ino) VARVE_RETURN_IF_ERROR(add_extents());
    ino = key.ino;
    if (key.kind == ItemKind::kTotals) {
      VARVE_RETURN_IF_ERROR(add(cursor.key(), EncodeTotals(*totals_)));
    } else if (key.kind == ItemKind::kInode) {
      VARVE_ASSIGN_OR_RETURN(InodeItem inode, DecodeInode(ino, cursor.value()));
      VARVE_ASSIGN_OR_RETURN(inode, Move(std::move(inode), &extents));
      VARVE_RETURN_IF_ERROR(add(cursor.key(), EncodeInode(inode)));
    } else if (key.kind == ItemKind::kSnapshot && exceptions_.drops_snapshots) {
      continue;
    } else if (key.kind != ItemKind::kExtent) {
      VARVE_RETURN_IF_ERROR(add(cursor.key(), cursor.value()));
    }
  }
  VARVE_RETURN_IF_ERROR(status);
  return add_extents();
}

}  // namespace varve::fs
