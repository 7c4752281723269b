// LiveTree: the newest state of the tree. It consists of the stored tree that
// the last checkpoint wrote, and of an overlay of the items that commits have
// changed since.
//
// For a commit, an editor works out the changed items without changing the
// tree; then Publish() adds them. For a checkpoint, Freeze() sets the overlay
// aside and begins a new one, in constant time; MergeOverlay() merges the
// frozen overlay into the stored tree, while others read and publish; and
// Install() sets the new root.
//
//   TreeEditor editor = tree.Edit();
//   editor.Apply(change, time);
//   tree.Publish(editor);
//
//   tree.Freeze();
//   root = MergeOverlay(tree.stored(), tree.frozen(), &sink);
//   tree.Install(root, &garbage);   // or Thaw(), if merging has failed
//
// Thread rules: like a standard container. The caller of Freeze() may use
// frozen() and stored() until the next Install() or Thaw(), even while others
// call Publish(). Readers, editors and cursors must not be used after the next
// call that changes the tree.

#ifndef VARVE_FS_TREE_LIVE_TREE_H_
#define VARVE_FS_TREE_LIVE_TREE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/btree/node_reader.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "fs/tree/items.h"
#include "fs/tree/tree_editor.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

class LiveTree {
 public:
  // Opens the tree at `root`, or makes an empty one if that is nothing. `nodes`
  // must outlive the tree. `seed` as for TreeReader. DATA_LOSS if the root node
  // is damaged, or the B+ tree does not hold a directory tree.
  static absl::StatusOr<std::unique_ptr<LiveTree>> Open(
      const NodeReader* nodes, std::optional<NodePointer> root, uint64_t seed);

  const TreeReader& reader() const { return *reader_; }
  const TreeTotals& totals() const { return totals_; }

  // Lays `items` over the tree, and sets its totals.
  void Lay(Overlay&& items, const TreeTotals& totals);

  TreeEditor Edit() const;
  // Applies the editor's changes to the tree. The editor must not be used
  // afterwards.
  void Publish(TreeEditor& editor);

  // Sets aside the items that have changed so far. Nothing may be frozen
  // already.
  void Freeze();
  bool is_frozen() const { return frozen_.has_value(); }
  const Overlay& frozen() const { return *frozen_; }
  const StoredTree& stored() const { return stored_; }
  // Replaces the stored tree. `root` is the result of MergeOverlay() for
  // stored() and frozen(). The frozen overlay moves to `garbage`, because it
  // may be large and take time to destroy.
  void Install(const std::optional<NodePointer>& root, Overlay* garbage);
  // Undoes Freeze(), in time proportional to what has changed since.
  void Thaw();

  // Copies changed items of inodes and extents, erased ones among them, into
  // `to`: of the next `most` changed items or so, of keys from `from` on.
  // Returns the key to go on from; empty if that was all. Between two calls the
  // tree may change, and be frozen and thawed, but not be installed.
  std::string CopyChangedContent(absl::string_view from, size_t most,
                                 Overlay* to) const;

  // About how many bytes of memory the changes since the last checkpoint take.
  size_t memory() const;

 private:
  LiveTree(const NodeReader* nodes, std::optional<NodePointer> root,
           uint64_t seed);
  absl::InlinedVector<const Overlay*, 3> Layers() const;
  // Makes items_ and reader_ use the present layers.
  void Reset();

  const NodeReader* const nodes_;
  const uint64_t seed_;
  StoredTree stored_;
  std::optional<Overlay> frozen_;
  Overlay active_;
  TreeTotals totals_;
  // All layers as one tree, and the reader for it.
  std::optional<LayeredTree> items_;
  std::optional<TreeReader> reader_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_LIVE_TREE_H_
