#include "fs/tree/orphans.h"

#include <cassert>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/base/status.h"
#include "fs/tree/items.h"
#include "fs/tree/tree_editor.h"

namespace varve::fs {
namespace {

// The seed is for hashes of names, and orphans have no names.
constexpr uint64_t kNoSeed = 0;

}  // namespace

Orphans::Orphans()
    : nothing_(nullptr, std::nullopt),
      layers_({&items_}, &nothing_),
      reader_(&layers_, kNoSeed) {}

absl::Status Orphans::Adopt(const TreeReader& tree, uint64_t ino,
                            Timestamp lost_at,
                            std::optional<Timestamp> accessed) {
  absl::StatusOr<std::optional<InodeItem>> found = tree.FindInode(ino);
  if (!found.ok() || !found->has_value()) return found.status();
  InodeItem& inode = **found;
  inode.first_name = {};
  inode.links = 0;
  inode.name_count = 0;
  inode.attributes.ctime = lost_at;
  if (accessed.has_value()) inode.attributes.atime = *accessed;
  Overlay adopted;
  adopted.PutNew(InodeKey(ino), EncodeInode(inode));
  for (const ItemKind kind : {ItemKind::kExtent, ItemKind::kXattr}) {
    const std::string prefix = KeyPrefix(ino, kind);
    LayeredCursor cursor(&tree.items(), prefix);
    absl::Status status = cursor.Seek(prefix);
    for (; status.ok() && cursor.valid(); status = cursor.Next()) {
      adopted.PutNew(cursor.key(), cursor.value());
    }
    VARVE_RETURN_IF_ERROR(status);
  }
  items_.Absorb(std::move(adopted));
  inos_.insert(ino);
  return absl::OkStatus();
}

absl::Status Orphans::Apply(const Change& change) {
  TreeEditor editor({&items_}, &nothing_, kNoSeed, TreeTotals());
  VARVE_RETURN_IF_ERROR(editor.Apply(change, std::nullopt));
  items_.Absorb(editor.TakeStaged());
  if (const auto* put = std::get_if<PutInode>(&change)) inos_.insert(put->ino);
  return absl::OkStatus();
}

void Orphans::ForEach(absl::FunctionRef<void(const InodeItem&)> visit) const {
  for (const uint64_t ino : inos_) {
    const absl::StatusOr<InodeItem> inode = reader_.GetInode(ino);
    // Items in memory are never damaged.
    assert(inode.ok());
    if (inode.ok()) visit(*inode);
  }
}

void Orphans::ForEachExtent(
    absl::FunctionRef<void(const Extent&)> visit) const {
  ForEach([&](const InodeItem& inode) {
    const absl::Status status = reader_.ForEachExtent(
        inode, 0, kMaxFileSize, [&visit](const Extent& extent) {
          visit(extent);
          return true;
        });
    assert(status.ok());
    status.IgnoreError();
  });
}

void Orphans::MoveExtents(
    absl::FunctionRef<std::vector<Extent>(const Extent&)> move) {
  std::vector<SetContent> contents;
  ForEach([&](const InodeItem& inode) {
    SetContent content{.ino = inode.ino};
    const absl::Status status = reader_.ForEachExtent(
        inode, 0, kMaxFileSize, [&](const Extent& extent) {
          for (const Extent& part : move(extent)) {
            content.extents.push_back(part);
          }
          return true;
        });
    assert(status.ok());
    status.IgnoreError();
    if (!content.extents.empty()) contents.push_back(std::move(content));
  });
  for (const SetContent& content : contents) {
    const absl::Status status = Apply(content);
    assert(status.ok());
    status.IgnoreError();
  }
}

void Orphans::Remove(uint64_t ino) {
  if (inos_.erase(ino) == 0) return;
  std::vector<std::string> keys;
  const Overlay::Map& items = items_.items();
  const auto end = items.lower_bound(InodeKey(ino + 1));
  for (auto it = items.lower_bound(InodeKey(ino)); it != end; ++it) {
    keys.push_back(it->first);
  }
  for (const std::string& key : keys) items_.Erase(key);
}

}  // namespace varve::fs
