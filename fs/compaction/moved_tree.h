// MovedTree: a tree as it is when its content has been copied into another
// store: the same items, but for where the content lies. They are made one
// after the other, as they are written, and not kept.
//
// Not thread-safe.

#ifndef VARVE_FS_COMPACTION_MOVED_TREE_H_
#define VARVE_FS_COMPACTION_MOVED_TREE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/compaction/translation.h"
#include "fs/log/log_tree.h"
#include "fs/tree/items.h"

namespace varve::fs {

// Where the content of the inode lies once it has been copied, with what
// continues each other joined. INTERNAL if a part of it was not copied. Without
// `keeps_sharing`, no extent is shared.
absl::StatusOr<std::vector<Extent>> MovedExtents(const TreeReader& tree,
                                                 const InodeItem& inode,
                                                 const Translation& translation,
                                                 bool keeps_sharing);

// Sets what the inode says of its content to these extents. Clears them if they
// are one whole entry, as the inode itself says so then; the others are its
// kExtent items.
void SetExtents(std::vector<Extent>* extents, InodeItem* inode);

class MovedTree {
 public:
  // Inodes of which something else is to be said than where the translation
  // has their content.
  struct Exceptions {
    absl::flat_hash_set<uint64_t> emptied;  // left without content
    // Past moments are not copied, so that the tree has no names for them.
    bool drops_snapshots = false;
    // From which moment on all are kept, if the tree is to say so.
    std::optional<uint64_t> kept_from;
    // Those that have an entry of their own, though they share a little with
    // others.
    absl::flat_hash_map<uint64_t, WholeEntry> whole;
  };

  // `tree` must not change any more. Other content that has no new place is an
  // error.
  MovedTree(std::shared_ptr<const LogTree> tree, const Translation& translation,
            Exceptions exceptions)
      : tree_(std::move(tree)),
        translation_(translation),
        exceptions_(std::move(exceptions)) {}

  // Calls `add` with all items in the order of their keys. Ends with the first
  // error of it; DATA_LOSS if the tree is damaged.
  absl::Status ForEachItem(absl::FunctionRef<absl::Status(
                               absl::string_view key, absl::string_view value)>
                               add);

 private:
  const TreeReader& reader() const { return tree_->live->reader(); }
  // What is in the tree once all has been moved.
  absl::Status Count();
  // The inode as it is to be, and the kExtent items that it has then.
  absl::StatusOr<InodeItem> Move(InodeItem inode,
                                 std::vector<Extent>* extents) const;
  absl::StatusOr<std::vector<Extent>> NewExtents(const InodeItem& inode) const;

  const std::shared_ptr<const LogTree> tree_;
  const Translation& translation_;
  const Exceptions exceptions_;
  std::optional<TreeTotals> totals_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_MOVED_TREE_H_
