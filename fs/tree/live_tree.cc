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

size_t LiveTree::memory() const {
  return active_.memory() + (frozen_.has_value() ? frozen_->memory() : 0);
}

}  // namespace varve::fs
