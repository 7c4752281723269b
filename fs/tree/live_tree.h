// LiveTree: the newest state of a tree in the log. It is a stored tree, as a
// checkpoint left it, with what the commits since have changed laid over it.
//
// A commit is worked out by an editor, which leaves the tree as it is, and then
// published. A checkpoint freezes what has changed, in no time; merges it into
// the stored tree, while others read and publish; and installs the new root.
//
//   TreeEditor editor = tree.Edit();
//   editor.Apply(change, time);
//   tree.Publish(editor);
//
//   tree.Freeze();
//   root = MergeOverlay(tree.stored(), tree.frozen(), &sink);
//   tree.Install(root, &garbage);   // or Thaw(), if that has failed
//
// Thread rules: like a standard container. Publish(), Freeze(), Install() and
// Thaw() need to be alone; frozen() and stored() may be used until the next
// Install() or Thaw() by whoever called Freeze(). Readers, editors and cursors
// must not outlive the next of those calls.

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
  // The tree below `root`; one that has only an empty root directory, if that
  // is nothing. `nodes` must outlive it. `seed` as for TreeReader. DATA_LOSS if
  // the root node is damaged, or is not that of such a tree.
  static absl::StatusOr<std::unique_ptr<LiveTree>> Open(
      const NodeReader* nodes, std::optional<NodePointer> root, uint64_t seed);

  const TreeReader& reader() const { return *reader_; }
  const TreeTotals& totals() const { return totals_; }

  // Lays items over the tree, which has `totals` from then on.
  void Lay(Overlay&& items, const TreeTotals& totals);

  TreeEditor Edit() const;
  // Makes the editor's changes be true.
  void Publish(TreeEditor& editor);

  // Sets aside what has changed so far. Nothing may be frozen already.
  void Freeze();
  bool is_frozen() const { return frozen_.has_value(); }
  const Overlay& frozen() const { return *frozen_; }
  const StoredTree& stored() const { return stored_; }
  // `root` is what MergeOverlay() has made of stored() and frozen(). What is
  // of no use any more goes into `garbage`: it may be large, and take time.
  void Install(const std::optional<NodePointer>& root, Overlay* garbage);
  // Takes a Freeze() back, in time that depends on what has changed since.
  void Thaw();

  // Bytes of memory that changes since the last checkpoint take, about.
  size_t memory() const;

 private:
  LiveTree(const NodeReader* nodes, std::optional<NodePointer> root,
           uint64_t seed);
  absl::InlinedVector<const Overlay*, 3> Layers() const;
  // Has items_ and reader_ look at the layers that there are now.
  void Reset();

  const NodeReader* const nodes_;
  const uint64_t seed_;
  StoredTree stored_;
  std::optional<Overlay> frozen_;
  Overlay active_;
  TreeTotals totals_;
  // Of these layers.
  std::optional<LayeredTree> items_;
  std::optional<TreeReader> reader_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_LIVE_TREE_H_
