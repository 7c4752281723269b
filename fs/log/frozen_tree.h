// FrozenTree: the tree of one moment, to be walked while everybody goes on.
// What the last checkpoint has written never changes, and is read where it
// lies; what has changed since is copied, a little at a time.
//
// It is not quite the tree of one moment: an item that changes while this is
// made may be as it was before or after. Take() says what can be relied on.
//
// Its nodes stay where they are as long as it lives: code that punches asks
// RootPins. A compaction that exchanges the file may end meanwhile; this still
// shows the tree in the file that there was.
//
// Thread-safe once it is made.

#ifndef VARVE_FS_LOG_FROZEN_TREE_H_
#define VARVE_FS_LOG_FROZEN_TREE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/btree/node_reader.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "fs/format/extent.h"
#include "fs/log/core.h"
#include "fs/log/node_segments.h"
#include "fs/log/root_pins.h"
#include "fs/log/used_ranges.h"

namespace varve::fs {

class FrozenTree final : public ExtentSource {
 public:
  // The tree as it is now. Nobody waits for longer than some hundred items
  // take to be copied. DATA_LOSS if a segment of the tree has no place.
  //
  // Each extent of the tree at some moment from now on is in what
  // ForEachExtent() gives, or has been named by a commit that was appended
  // after this was called.
  static absl::StatusOr<std::unique_ptr<FrozenTree>> Take(Core& core)
      ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

  FrozenTree(const FrozenTree&) = delete;
  FrozenTree& operator=(const FrozenTree&) = delete;

  // Calls `visit` with each extent that is not a hole, file by file, until it
  // returns false. Holds no lock. DATA_LOSS if a node is damaged.
  absl::Status ForEachExtent(
      absl::FunctionRef<bool(const Extent&)> visit) const override;

 private:
  explicit FrozenTree(std::shared_ptr<LogTree> source);
  // Copies what has changed since the checkpoint; false if another one has been
  // written meanwhile.
  bool CopyChanges(Core& core) ABSL_LOCKS_EXCLUDED(core.tree_mu);

  // Is told of damage. Nothing else of it is looked at once this is made.
  const std::shared_ptr<LogTree> source_;
  mutable NodeSegments segments_;
  const NodeReader nodes_;
  const StoredTree stored_;
  RootPins::Pin pin_;
  Overlay changes_;  // items of inodes and extents alone
};

// Calls `visit` with the extent that an item of a tree has, if it has one that
// is not a hole. DATA_LOSS if the item is malformed.
absl::Status VisitExtentOf(absl::string_view key, absl::string_view value,
                           absl::FunctionRef<bool(const Extent&)> visit);

// Calls `visit` with each extent of the tree that is not a hole, file by file,
// until it returns false. DATA_LOSS if a node is damaged.
absl::Status VisitExtents(const LayeredTree& items,
                          absl::FunctionRef<bool(const Extent&)> visit);

// Calls `visit` with each extent, not a hole, that a commit names which lies in
// [begin, end) of the store, where entries end; commits that are no longer the
// newest word on their files too. DATA_LOSS if one of them is damaged.
absl::Status ForEachCommittedExtent(
    const Core& core, uint64_t begin, uint64_t end,
    absl::FunctionRef<void(const Extent&)> visit);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_FROZEN_TREE_H_
