// Helpers for tests that compare moments of a tree.

#ifndef VARVE_FS_TREE_MOMENT_TEST_UTIL_H_
#define VARVE_FS_TREE_MOMENT_TEST_UTIL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/test_util.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "fs/format/change.h"
#include "fs/format/timestamp.h"
#include "fs/tree/live_tree.h"
#include "fs/tree/tree_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {

// A state that a tree once had.
class Moment {
 public:
  static constexpr uint64_t kSeed = 0x5eed;

  Moment(const NodeReader* nodes, std::optional<NodePointer> root,
         Overlay overlay)
      : stored_(nodes, root),
        overlay_(std::move(overlay)),
        layers_({&overlay_}, &stored_),
        tree_(&layers_, kSeed) {}
  Moment(const Moment&) = delete;
  Moment& operator=(const Moment&) = delete;

  const TreeReader& tree() const { return tree_; }
  const std::optional<NodePointer>& root() const { return stored_.root(); }
  const Overlay& overlay() const { return overlay_; }

 private:
  const StoredTree stored_;
  const Overlay overlay_;
  const LayeredTree layers_;
  const TreeReader tree_;
};

// A tree that changes, and remembers nothing by itself.
class ChangingTree {
 public:
  ChangingTree() : reader_(&nodes_) {
    tree_ = *LiveTree::Open(&reader_, std::nullopt, Moment::kSeed);
  }

  static Timestamp At(uint64_t seconds) {
    return Timestamp::FromPacked(seconds << 30);
  }
  // Makes a commit, a second after the last one.
  void Apply(const std::vector<Change>& changes) {
    ++time_;
    TreeEditor editor = tree_->Edit();
    for (const Change& change : changes) {
      ASSERT_THAT(editor.Apply(change, At(time_)), IsOk());
    }
    tree_->Publish(editor);
  }
  void Checkpoint() {
    tree_->Freeze();
    const auto root = MergeOverlay(tree_->stored(), tree_->frozen(), &nodes_);
    ASSERT_THAT(root, IsOk());
    Overlay garbage;
    tree_->Install(*root, &garbage);
  }
  std::unique_ptr<Moment> Now() {
    tree_->Freeze();
    auto moment = std::make_unique<Moment>(&reader_, tree_->stored().root(),
                                           tree_->frozen());
    tree_->Thaw();
    return moment;
  }

  const TreeReader& tree() const { return tree_->reader(); }
  MemoryNodes& nodes() { return nodes_; }
  uint64_t time() const { return time_; }

 private:
  MemoryNodes nodes_;
  NodeReader reader_;
  std::unique_ptr<LiveTree> tree_;
  uint64_t time_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_MOMENT_TEST_UTIL_H_
