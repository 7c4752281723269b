#include "fs/tree/tree_editor.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

absl::Status NoInode(uint64_t ino) {
  return DamageError(
      absl::StrCat("a change names inode ", ino, ", which does not exist"));
}

absl::InlinedVector<const Overlay*, 3> OnTop(
    const Overlay* top, absl::InlinedVector<const Overlay*, 3> layers) {
  layers.insert(layers.begin(), top);
  return layers;
}

}  // namespace

TreeEditor::TreeEditor(absl::InlinedVector<const Overlay*, 3> layers,
                       const StoredTree* stored, uint64_t seed,
                       const TreeTotals& totals)
    : items_(OnTop(&staged_, std::move(layers)), stored),
      reader_(&items_, seed),
      totals_(totals) {}

absl::Status TreeEditor::Apply(const Change& change,
                               std::optional<Timestamp> time) {
  return std::visit([&](const auto& c) { return Do(c, time); }, change);
}

absl::StatusOr<InodeItem> TreeEditor::ChangedInode(uint64_t ino) const {
  absl::StatusOr<std::optional<InodeItem>> inode = reader_.FindInode(ino);
  if (!inode.ok()) return inode.status();
  if (!inode->has_value()) return NoInode(ino);
  return **std::move(inode);
}

absl::StatusOr<InodeItem> TreeEditor::ChangedDirectory(uint64_t ino) const {
  absl::StatusOr<InodeItem> inode = ChangedInode(ino);
  if (inode.ok() && !inode->is_directory()) {
    return DamageError(absl::StrCat("a change concerns names in inode ", ino,
                                    ", which is no directory"));
  }
  return inode;
}

absl::StatusOr<InodeItem> TreeEditor::ChangedFile(uint64_t ino) const {
  absl::StatusOr<InodeItem> inode = ChangedInode(ino);
  if (inode.ok() && inode->is_directory()) return NoInode(ino);
  return inode;
}

void TreeEditor::Put(const InodeItem& inode) {
  staged_.Put(InodeKey(inode.ino), EncodeInode(inode));
}

// --- Inodes ------------------------------------------------------------------

void TreeEditor::CountContent(const InodeItem& inode, int sign) {
  const auto factor = static_cast<uint64_t>(sign);
  if (inode.is_regular()) {
    totals_.content_bytes += factor * inode.attributes.size;
  }
  totals_.data_bytes += factor * inode.data_bytes();
  totals_.extents += factor * inode.extent_count;
}

absl::Status TreeEditor::Do(const PutInode& change, std::optional<Timestamp>) {
  absl::StatusOr<std::optional<InodeItem>> found =
      reader_.FindInode(change.ino);
  if (!found.ok()) return found.status();
  if (!found->has_value()) {
    if (change.ino == 0) return NoInode(0);
    InodeItem made;
    made.ino = change.ino;
    made.attributes = change.attributes;
    CountContent(made, 1);
    ++totals_.inodes;
    staged_.PutNew(InodeKey(made.ino), EncodeInode(made));
    return absl::OkStatus();
  }
  InodeItem& inode = **found;
  if ((inode.attributes.mode & S_IFMT) != (change.attributes.mode & S_IFMT)) {
    return DamageError(
        absl::StrCat("a change alters the type of inode ", change.ino));
  }
  CountContent(inode, -1);
  if (change.attributes.size != inode.attributes.size) {
    ExpandWholeEntry(inode);
    VARVE_RETURN_IF_ERROR(CutOut(change.attributes.size, kMaxFileSize, inode));
  }
  inode.attributes = change.attributes;
  CountContent(inode, 1);
  Put(inode);
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const DropInode& change, std::optional<Timestamp>) {
  absl::StatusOr<InodeItem> inode = ChangedInode(change.ino);
  if (!inode.ok()) return inode.status();
  if (inode->first_name.place != 0 || inode->ino == kRootIno ||
      inode->name_count > 0) {
    return DamageError(absl::StrCat("a change drops inode ", change.ino,
                                    ", which is still in use"));
  }
  CountContent(*inode, -1);
  --totals_.inodes;
  VARVE_RETURN_IF_ERROR(EraseExtents(*inode));
  std::vector<std::string> names;
  VARVE_RETURN_IF_ERROR(
      reader_.ForEachXattr(inode->ino, [&names](absl::string_view name) {
        names.emplace_back(name);
        return true;
      }));
  for (const std::string& name : names) {
    VARVE_RETURN_IF_ERROR(EraseXattr(inode->ino, name).status());
  }
  staged_.Erase(InodeKey(inode->ino));
  return absl::OkStatus();
}

// --- Names -------------------------------------------------------------------

absl::Status TreeEditor::CheckMayHold(const InodeItem& directory,
                                      const InodeItem& parent) const {
  // A directory has only one name. A non-empty one must not come to lie in
  // itself.
  bool may = directory.ino != kRootIno && directory.first_name.place == 0 &&
             directory.ino != parent.ino;
  if (may && directory.name_count > 0) {
    absl::StatusOr<bool> is_within = reader_.IsWithin(parent, directory.ino);
    if (!is_within.ok()) return is_within.status();
    may = !*is_within;
  }
  if (may) return absl::OkStatus();
  return DamageError(absl::StrCat("a change makes directory ", directory.ino,
                                  " lie in itself or in two places"));
}

absl::StatusOr<uint64_t> TreeEditor::PlaceFor(const PutName& change,
                                              uint64_t hash,
                                              InodeItem& parent) {
  Dropped* const end = dropped_.data() + dropped_count_;
  const auto find = [&](const auto& is_it) {
    return std::find_if(dropped_.data(), end, [&](const Dropped& dropped) {
      return dropped.name.directory == change.parent && is_it(dropped);
    });
  };
  Dropped* found = find([hash](const Dropped& d) { return d.hash == hash; });
  if (found == end) {
    found = find([&](const Dropped& d) { return d.ino == change.ino; });
  }
  if (found != end) {
    const uint64_t place = found->name.place;
    std::copy(found + 1, end, found);
    --dropped_count_;
    return place;
  }
  if (parent.next_place >= NamePlace::kLimit) {
    return DamageError(absl::StrCat("directory ", parent.ino,
                                    " has no more places for names"));
  }
  return parent.next_place++;
}

absl::Status TreeEditor::Do(const PutName& change,
                            std::optional<Timestamp> time) {
  absl::StatusOr<InodeItem> parent = ChangedDirectory(change.parent);
  if (!parent.ok()) return parent.status();
  absl::StatusOr<InodeItem> inode = ChangedInode(change.ino);
  if (!inode.ok()) return inode.status();
  absl::StatusOr<std::optional<NameItem>> taken =
      reader_.FindName(change.parent, change.name);
  if (!taken.ok()) return taken.status();
  if (taken->has_value()) {
    return DamageError(absl::StrCat(
        "a change puts a name that is taken into directory ", change.parent));
  }
  if (inode->is_directory()) {
    VARVE_RETURN_IF_ERROR(CheckMayHold(*inode, *parent));
    ++parent->links;
  } else {
    ++inode->links;
  }
  inode->moved |= inode->whole_entry.has_value() || inode->extent_count > 0 ||
                  inode->name_count > 0;
  const uint64_t hash = reader_.HashOf(change.name);
  absl::StatusOr<uint64_t> place = PlaceFor(change, hash, *parent);
  if (!place.ok()) return place.status();
  const NamePlace name = {.directory = change.parent, .place = *place};
  staged_.PutNew(NameKey(name),
                 EncodeName(change.ino, inode->attributes.mode, change.name));
  staged_.PutNew(NameHashKey(name, hash), "");
  if (inode->first_name.place == 0) {
    inode->first_name = name;
  } else {
    staged_.PutNew(LinkKey(inode->ino, name), "");
  }
  ++parent->name_count;
  ++totals_.names;
  if (time.has_value()) {
    parent->attributes.mtime = parent->attributes.ctime = *time;
    inode->attributes.ctime = *time;
  }
  Put(*parent);
  Put(*inode);
  return absl::OkStatus();
}

absl::Status TreeEditor::Unlink(NamePlace name, InodeItem& inode) {
  if (inode.first_name != name) {
    staged_.Erase(LinkKey(inode.ino, name));
    return absl::OkStatus();
  }
  // The next name, by directory and place, becomes the first.
  inode.first_name = {};
  const std::string prefix = KeyPrefix(inode.ino, ItemKind::kLink);
  LayeredCursor cursor(&items_, prefix);
  VARVE_RETURN_IF_ERROR(cursor.Seek(prefix));
  if (!cursor.valid()) return absl::OkStatus();
  const std::string key(cursor.key());
  absl::StatusOr<ItemKey> next = ParseKey(key);
  if (!next.ok()) return next.status();
  inode.first_name = next->name;
  staged_.Erase(key);
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const DropName& change,
                            std::optional<Timestamp> time) {
  absl::StatusOr<InodeItem> parent = ChangedDirectory(change.parent);
  if (!parent.ok()) return parent.status();
  absl::StatusOr<std::optional<NameItem>> name =
      reader_.FindName(change.parent, change.name);
  if (!name.ok()) return name.status();
  if (!name->has_value()) {
    return DamageError(absl::StrCat(
        "a change drops a name that is not in directory ", change.parent));
  }
  const NamePlace place = (*name)->place;
  absl::StatusOr<InodeItem> inode = reader_.GetInode((*name)->ino);
  if (!inode.ok()) return inode.status();
  uint32_t& links = inode->is_directory() ? parent->links : inode->links;
  if (links == 0 || parent->name_count == 0) {
    return DamageError(absl::StrCat("inode ", inode->ino, " or directory ",
                                    parent->ino, " counts its names wrongly"));
  }
  VARVE_RETURN_IF_ERROR(Unlink(place, *inode));
  --links;
  --parent->name_count;
  if (parent->name_count == 0) parent->moved = false;
  --totals_.names;
  const uint64_t hash = reader_.HashOf(change.name);
  if (dropped_count_ == dropped_.size()) {
    std::copy(dropped_.begin() + 1, dropped_.end(), dropped_.begin());
    --dropped_count_;
  }
  dropped_[dropped_count_++] = {.name = place, .ino = inode->ino, .hash = hash};
  staged_.Erase(NameKey(place));
  staged_.Erase(NameHashKey(place, hash));
  if (time.has_value()) {
    parent->attributes.mtime = parent->attributes.ctime = *time;
    inode->attributes.ctime = *time;
  }
  Put(*parent);
  Put(*inode);
  return absl::OkStatus();
}

// --- Content -----------------------------------------------------------------

void TreeEditor::PutExtent(const Extent& extent, InodeItem& inode) {
  // PutNew() is right: extents that were there have been cut out.
  staged_.PutNew(ExtentKey(inode.ino, extent.file_offset),
                 EncodeExtentItem(extent));
  ++inode.extent_count;
  inode.extent_bytes += extent.length;
}

void TreeEditor::EraseExtent(const Extent& extent, InodeItem& inode) {
  staged_.Erase(ExtentKey(inode.ino, extent.file_offset));
  --inode.extent_count;
  inode.extent_bytes -= extent.length;
}

void TreeEditor::ExpandWholeEntry(InodeItem& inode) {
  if (!inode.whole_entry.has_value()) return;
  const Extent whole = inode.WholeExtent();
  inode.whole_entry.reset();
  PutExtent(whole, inode);
}

absl::Status TreeEditor::CutOut(uint64_t begin, uint64_t end,
                                InodeItem& inode) {
  std::vector<Extent> met;
  VARVE_RETURN_IF_ERROR(
      reader_.ForEachExtent(inode, begin, end, [&met](const Extent& extent) {
        met.push_back(extent);
        return true;
      }));
  if (met.size() > inode.extent_count) {
    return DamageError(absl::StrCat("inode ", inode.ino, " has more extents ",
                                    "than it counts"));
  }
  for (const Extent& extent : met) EraseExtent(extent, inode);
  for (const Extent& extent : met) {
    if (extent.file_offset < begin) {
      PutExtent(extent.Slice(extent.file_offset, begin), inode);
    }
    if (extent.file_end() > end) {
      PutExtent(extent.Slice(end, extent.file_end()), inode);
    }
  }
  return absl::OkStatus();
}

absl::Status TreeEditor::PutJoined(Extent extent, InodeItem& inode) {
  const uint64_t begin = extent.file_offset;
  const uint64_t end = extent.file_end();
  // The extents that touch it.
  std::vector<Extent> beside;
  VARVE_RETURN_IF_ERROR(reader_.ForEachExtent(
      inode, begin > 0 ? begin - 1 : 0, end + 1, [&](const Extent& other) {
        beside.push_back(other);
        return true;
      }));
  for (const Extent& other : beside) {
    if (other.IsContinuedBy(extent)) {
      EraseExtent(other, inode);
      extent = other.Part(0, other.length, other.file_offset);
      extent.length += end - begin;
    } else if (extent.IsContinuedBy(other)) {
      EraseExtent(other, inode);
      extent.length += other.length;
    }
  }
  PutExtent(extent, inode);
  return absl::OkStatus();
}

absl::Status TreeEditor::LayOver(const Extent& extent, InodeItem& inode) {
  VARVE_RETURN_IF_ERROR(CutOut(extent.file_offset, extent.file_end(), inode));
  return extent.is_hole() ? absl::OkStatus() : PutJoined(extent, inode);
}

absl::Status TreeEditor::EraseExtents(InodeItem& inode) {
  if (inode.whole_entry.has_value()) {
    inode.whole_entry.reset();
    return absl::OkStatus();
  }
  return CutOut(0, kMaxFileSize, inode);
}

absl::Status TreeEditor::Do(const SetContent& change,
                            std::optional<Timestamp>) {
  absl::StatusOr<InodeItem> inode = ChangedFile(change.ino);
  if (!inode.ok()) return inode.status();
  CountContent(*inode, -1);
  VARVE_RETURN_IF_ERROR(EraseExtents(*inode));
  inode->patched = 0;
  inode->moved = false;
  const Extent* const first =
      change.extents.size() == 1 ? &change.extents[0] : nullptr;
  if (first != nullptr && first->owns_entry() && first->file_offset == 0 &&
      first->length == inode->attributes.size) {
    inode->whole_entry = WholeEntryOf(*first);
  } else {
    for (const Extent& extent : change.extents) {
      VARVE_RETURN_IF_ERROR(LayOver(extent, *inode));
      totals_.may_have_clones |= extent.shared;
    }
  }
  CountContent(*inode, 1);
  Put(*inode);
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const PatchContent& change,
                            std::optional<Timestamp>) {
  absl::StatusOr<InodeItem> inode = ChangedFile(change.ino);
  if (!inode.ok()) return inode.status();
  CountContent(*inode, -1);
  ExpandWholeEntry(*inode);
  for (const Extent& extent : change.extents) {
    VARVE_RETURN_IF_ERROR(LayOver(extent, *inode));
    if (extent.is_hole()) continue;
    if (extent.shared) {
      totals_.may_have_clones = true;
    } else {
      inode->patched += extent.length;
    }
  }
  CountContent(*inode, 1);
  Put(*inode);
  return absl::OkStatus();
}

// --- Extended attributes and ids ---------------------------------------------

absl::StatusOr<bool> TreeEditor::EraseXattr(uint64_t ino,
                                            absl::string_view name) {
  bool was_there = false;
  for (unsigned chunk = 0; chunk <= UINT8_MAX; ++chunk) {
    const std::string key = XattrKey(ino, name, static_cast<uint8_t>(chunk));
    absl::StatusOr<std::optional<absl::string_view>> part = items_.Get(key);
    if (!part.ok()) return part.status();
    if (!part->has_value()) break;
    staged_.Erase(key);
    was_there = true;
  }
  return was_there;
}

absl::Status TreeEditor::Do(const SetXattr& change, std::optional<Timestamp>) {
  absl::StatusOr<InodeItem> inode = ChangedInode(change.ino);
  if (!inode.ok()) return inode.status();
  VARVE_RETURN_IF_ERROR(EraseXattr(change.ino, change.name).status());
  PutXattrItems(change.ino, change.name, change.value, &staged_);
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const DropXattr& change, std::optional<Timestamp>) {
  absl::StatusOr<InodeItem> inode = ChangedInode(change.ino);
  if (!inode.ok()) return inode.status();
  const absl::StatusOr<bool> was_there = EraseXattr(change.ino, change.name);
  if (!was_there.ok()) return was_there.status();
  if (!*was_there) {
    return DamageError(absl::StrCat("a change drops an attribute that inode ",
                                    change.ino, " does not have"));
  }
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const KeepUnfinished& change,
                            std::optional<Timestamp>) {
  if (change.begin >= change.end) return absl::OkStatus();
  uint64_t begin = change.begin;
  uint64_t end = change.end;
  std::vector<std::string> joined;
  VARVE_RETURN_IF_ERROR(
      reader_.ForEachUnfinished([&](uint64_t other_begin, uint64_t other_end) {
        if (other_begin > end) return false;
        if (other_end < begin) return true;
        begin = std::min(begin, other_begin);
        end = std::max(end, other_end);
        joined.push_back(UnfinishedKey(other_begin));
        return true;
      }));
  for (const std::string& key : joined) staged_.Erase(key);
  staged_.Put(UnfinishedKey(begin), EncodeUnfinished(end));
  return absl::OkStatus();
}

}  // namespace varve::fs
