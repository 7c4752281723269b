#include "fs/btree/tree_diff.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "engine/base/status.h"
#include "fs/btree/node.h"
#include "fs/btree/stored_tree.h"

namespace varve::fs {
namespace {

// Walks over a stored tree in the order of its keys, and reads no more than it
// is told to. It stands at a subtree that it has not entered, or at an item, or
// at the end.
class SubtreeWalker {
 public:
  // `tree` must outlive the walker. At first, it is at the end.
  explicit SubtreeWalker(const StoredTree* tree) : tree_(tree) {}

  // Moves to the subtree that is the whole tree.
  absl::Status Start();

  bool at_subtree() const { return subtree_.has_value(); }
  bool at_item() const { return position_ < items_.size(); }
  bool at_end() const { return !at_subtree() && !at_item(); }
  // The key of the item, or the lowest key that may be in the subtree. Valid
  // until the walker moves, as are the following.
  absl::string_view key() const {
    return at_subtree() ? absl::string_view(subtree_->range.low) : key_;
  }
  // The value of the item; must be at one.
  absl::string_view value() const {
    const RunItem& item = items_[position_];
    return runs_[item.run].value(item.index);
  }
  // The subtree's root and its level; must be at one.
  const NodePointer& pointer() const { return subtree_->pointer; }
  int level() const { return subtree_->level; }

  // Moves from the subtree to its first subtree or item. DATA_LOSS if its root
  // is damaged or does not belong there.
  absl::Status Enter();
  // Moves behind the subtree or item. DATA_LOSS if what comes next cannot be
  // located.
  absl::Status PassOver();

 private:
  struct Subtree {
    NodePointer pointer;
    int level = 0;
    KeyRange range;
  };
  struct Level {
    NodeView node;
    int level = 0;
    KeyRange range;
    size_t child = 0;
  };

  absl::Status StandAtChild();
  void SetKey() {
    const RunItem& item = items_[position_];
    runs_[item.run].GetKey(item.index, &key_);
  }

  const StoredTree* const tree_;
  std::vector<Level> path_;  // the inner nodes that were entered, root first
  std::optional<Subtree> subtree_;
  // Of the leaf that was entered.
  LeafRuns runs_;
  std::vector<RunItem> items_;
  size_t position_ = 0;
  std::string key_;
};

absl::Status SubtreeWalker::Start() {
  if (!tree_->root().has_value()) return absl::OkStatus();
  const NodePointer& root = *tree_->root();
  VARVE_ASSIGN_OR_RETURN(const NodeView node,
                         tree_->ReadNode(root, -1, KeyRange()));
  subtree_ = {.pointer = root, .level = node.level(), .range = KeyRange()};
  return absl::OkStatus();
}

absl::Status SubtreeWalker::StandAtChild() {
  const Level& lowest = path_.back();
  VARVE_ASSIGN_OR_RETURN(const NodePointer pointer,
                         DecodePointer(lowest.node.value(lowest.child)));
  subtree_ = {.pointer = pointer,
              .level = lowest.level - 1,
              .range = ChildRange(lowest.node, lowest.child, lowest.range)};
  return absl::OkStatus();
}

absl::Status SubtreeWalker::Enter() {
  Subtree entered = *std::exchange(subtree_, std::nullopt);
  if (entered.level > 0) {
    VARVE_ASSIGN_OR_RETURN(
        const NodeView node,
        tree_->ReadInner(entered.pointer, entered.level, entered.range));
    path_.push_back({.node = node,
                     .level = entered.level,
                     .range = std::move(entered.range)});
    return StandAtChild();
  }
  VARVE_ASSIGN_OR_RETURN(runs_,
                         tree_->ReadLeaf(entered.pointer, entered.range));
  items_ = MergeRuns(runs_);
  position_ = 0;
  // Deltas may have erased all items.
  if (items_.empty()) return PassOver();
  SetKey();
  return absl::OkStatus();
}

absl::Status SubtreeWalker::PassOver() {
  if (at_item() && ++position_ < items_.size()) {
    SetKey();
    return absl::OkStatus();
  }
  items_.clear();
  subtree_.reset();
  while (!path_.empty()) {
    Level& lowest = path_.back();
    if (++lowest.child < lowest.node.count()) return StandAtChild();
    path_.pop_back();
  }
  return absl::OkStatus();
}

// The items that differ between two stored trees, one after the other.
class StoredDifference {
 public:
  // The trees must outlive this object.
  StoredDifference(const StoredTree* before, const StoredTree* after,
                   NodeSharing sharing)
      : sharing_(sharing),
        is_same_(sharing == NodeSharing::kOneStore &&
                 before->root() == after->root()),
        before_(before),
        after_(after) {}

  // Move to the first and to the next difference. DATA_LOSS as for DiffTrees().
  absl::Status Start();
  absl::Status Next();

  // Whether there is a difference, and that difference, valid until the next
  // move.
  bool valid() const { return has_before_ || has_after_; }
  ItemDifference Get() const {
    ItemDifference found;
    found.key = has_before_ ? before_.key() : after_.key();
    if (has_before_) found.before = before_.value();
    if (has_after_) found.after = after_.value();
    return found;
  }

 private:
  // Moves on to the next difference, unless the walkers stand at one.
  absl::Status Settle();
  // Takes one step towards it, or finds that the walkers stand at one.
  absl::Status Step();
  absl::Status StepAtSubtrees();
  // Compares where the walkers stand. What is below the key of one walker, only
  // the other tree may have. The end is above all keys.
  int Compare() const;

  const NodeSharing sharing_;
  const bool is_same_;
  SubtreeWalker before_;
  SubtreeWalker after_;
  // Which of the trees has the item of the difference; neither if there is no
  // difference.
  bool has_before_ = false;
  bool has_after_ = false;
};

absl::Status StoredDifference::Start() {
  if (is_same_) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(before_.Start());
  VARVE_RETURN_IF_ERROR(after_.Start());
  return Settle();
}

absl::Status StoredDifference::Next() {
  if (std::exchange(has_before_, false)) {
    VARVE_RETURN_IF_ERROR(before_.PassOver());
  }
  if (std::exchange(has_after_, false)) {
    VARVE_RETURN_IF_ERROR(after_.PassOver());
  }
  return Settle();
}

absl::Status StoredDifference::Settle() {
  while (!valid() && !(before_.at_end() && after_.at_end())) {
    VARVE_RETURN_IF_ERROR(Step());
  }
  return absl::OkStatus();
}

int StoredDifference::Compare() const {
  if (before_.at_end()) return 1;
  if (after_.at_end()) return -1;
  return before_.key().compare(after_.key());
}

absl::Status StoredDifference::StepAtSubtrees() {
  const int level = before_.level();
  const int other = after_.level();
  if (sharing_ == NodeSharing::kOneStore && level == other &&
      before_.pointer() == after_.pointer()) {
    VARVE_RETURN_IF_ERROR(before_.PassOver());
    return after_.PassOver();
  }
  // Enter the higher one only, because the lower one may be in it.
  if (level >= other) VARVE_RETURN_IF_ERROR(before_.Enter());
  if (level <= other) VARVE_RETURN_IF_ERROR(after_.Enter());
  return absl::OkStatus();
}

absl::Status StoredDifference::Step() {
  const int order = Compare();
  if (order != 0) {
    SubtreeWalker& first = order < 0 ? before_ : after_;
    if (first.at_subtree()) return first.Enter();
    has_before_ = order < 0;
    has_after_ = order > 0;
    return absl::OkStatus();
  }
  if (before_.at_subtree() && after_.at_subtree()) return StepAtSubtrees();
  if (before_.at_subtree()) return before_.Enter();
  if (after_.at_subtree()) return after_.Enter();
  if (before_.value() == after_.value()) {
    VARVE_RETURN_IF_ERROR(before_.PassOver());
    return after_.PassOver();
  }
  has_before_ = has_after_ = true;
  return absl::OkStatus();
}

// The keys in the overlays of two trees, in order, each once.
class OverlayKeys {
 public:
  // The overlays must outlive this object.
  OverlayKeys(const LayeredTree& before, const LayeredTree& after) {
    for (const LayeredTree* tree : {&before, &after}) {
      for (const Overlay* overlay : tree->overlays()) {
        heads_.push_back({overlay->items().begin(), overlay->items().end()});
      }
    }
    Settle();
  }

  // Whether there is a key, and that key.
  bool valid() const { return key_.has_value(); }
  absl::string_view key() const { return *key_; }
  void Next() {
    for (Head& head : heads_) {
      if (head.at != head.end && head.at->first == *key_) ++head.at;
    }
    Settle();
  }

 private:
  struct Head {
    Overlay::Map::const_iterator at;
    Overlay::Map::const_iterator end;
  };
  void Settle() {
    key_.reset();
    for (const Head& head : heads_) {
      if (head.at == head.end) continue;
      if (!key_.has_value() || head.at->first < *key_) key_ = head.at->first;
    }
  }

  absl::InlinedVector<Head, 6> heads_;
  std::optional<absl::string_view> key_;
};

}  // namespace

absl::Status DiffTrees(
    const LayeredTree& before, const LayeredTree& after, NodeSharing sharing,
    absl::FunctionRef<absl::StatusOr<bool>(const ItemDifference&)> visit) {
  StoredDifference stored(&before.stored(), &after.stored(), sharing);
  OverlayKeys overlays(before, after);
  VARVE_RETURN_IF_ERROR(stored.Start());
  while (stored.valid() || overlays.valid()) {
    const bool is_stored =
        stored.valid() &&
        (!overlays.valid() || stored.Get().key <= overlays.key());
    const bool is_overlaid =
        overlays.valid() &&
        (!stored.valid() || overlays.key() <= stored.Get().key);
    ItemDifference found;
    if (is_overlaid) {
      // Overlays may hide a stored difference, or make one.
      found.key = overlays.key();
      VARVE_ASSIGN_OR_RETURN(found.before, before.Get(found.key));
      VARVE_ASSIGN_OR_RETURN(found.after, after.Get(found.key));
    } else {
      found = stored.Get();
    }
    if (found.before != found.after) {
      VARVE_ASSIGN_OR_RETURN(const bool goes_on, visit(found));
      if (!goes_on) return absl::OkStatus();
    }
    if (is_stored) VARVE_RETURN_IF_ERROR(stored.Next());
    if (is_overlaid) overlays.Next();
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
