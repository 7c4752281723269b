#include "fs/tree/live_tree.h"

#include <sys/stat.h>

#include <utility>

#include "absl/memory/memory.h"
#include "fs/base/error.h"

namespace varve::fs {

LiveTree::LiveTree(const NodeReader* nodes, std::optional<NodePointer> root,
                   uint64_t seed)
    : nodes_(nodes), seed_(seed), stored_(nodes, root) {
  Reset();
}

absl::StatusOr<std::unique_ptr<LiveTree>> LiveTree::Open(
    const NodeReader* nodes, std::optional<NodePointer> root, uint64_t seed) {
  auto tree = absl::WrapUnique(new LiveTree(nodes, root, seed));
  if (!root.has_value()) {
    InodeItem directory;
    directory.ino = kRootIno;
    directory.attributes.mode = S_IFDIR | 0755;
    tree->active_.Put(InodeKey(kRootIno), EncodeInode(directory));
    tree->totals_.inodes = 1;
    return tree;
  }
  absl::StatusOr<std::optional<absl::string_view>> totals =
      tree->stored_.Get(TotalsKey());
  if (!totals.ok()) return totals.status();
  if (!totals->has_value()) {
    return DamageError("the tree has no totals");
  }
  absl::StatusOr<TreeTotals> decoded = DecodeTotals(**totals);
  if (!decoded.ok()) return decoded.status();
  tree->totals_ = *decoded;
  return tree;
}

absl::InlinedVector<const Overlay*, 3> LiveTree::Layers() const {
  absl::InlinedVector<const Overlay*, 3> layers = {&active_};
  if (frozen_.has_value()) layers.push_back(&*frozen_);
  return layers;
}

void LiveTree::Reset() {
  items_.emplace(Layers(), &stored_);
  reader_.emplace(&*items_, seed_);
}

void LiveTree::Lay(Overlay&& items, const TreeTotals& totals) {
  totals_ = totals;
  active_.Absorb(std::move(items));
}

TreeEditor LiveTree::Edit() const {
  return TreeEditor(Layers(), &stored_, seed_, totals_);
}

void LiveTree::Publish(TreeEditor& editor) {
  totals_ = editor.totals();
  active_.Absorb(editor.TakeStaged());
}

void LiveTree::Freeze() {
  active_.Put(TotalsKey(), EncodeTotals(totals_));
  frozen_ = std::exchange(active_, Overlay());
  Reset();
}

void LiveTree::Install(const std::optional<NodePointer>& root,
                       Overlay* garbage) {
  stored_ = StoredTree(nodes_, root);
  *garbage = *std::exchange(frozen_, std::nullopt);
  Reset();
}

void LiveTree::Thaw() {
  frozen_->Absorb(std::exchange(active_, Overlay()));
  active_ = *std::exchange(frozen_, std::nullopt);
  Reset();
}

std::string LiveTree::CopyChangedContent(absl::string_view from, size_t most,
                                         Overlay* to) const {
  std::string end;  // empty: all of them
  for (const Overlay* layer : Layers()) {
    auto it = layer->items().lower_bound(from);
    for (size_t i = 0; i < most && it != layer->items().end(); ++i) ++it;
    if (it == layer->items().end()) continue;
    if (end.empty() || it->first < end) end = it->first;
  }
  const absl::InlinedVector<const Overlay*, 3> layers = Layers();
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
    const Overlay::Map& items = (*layer)->items();
    const auto stop = end.empty() ? items.end() : items.lower_bound(end);
    for (auto it = items.lower_bound(from); it != stop; ++it) {
      const absl::StatusOr<ItemKey> key = ParseKey(it->first);
      if (!key.ok() ||
          (key->kind != ItemKind::kInode && key->kind != ItemKind::kExtent)) {
        continue;
      }
      if (it->second.value.has_value()) {
        to->Put(it->first, *it->second.value);
      } else {
        to->Erase(it->first);
      }
    }
  }
  return end;
}

size_t LiveTree::memory() const {
  return active_.memory() + (frozen_.has_value() ? frozen_->memory() : 0);
}

}  // namespace varve::fs
