#include "fs/btree/stored_tree.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

absl::Status OutOfPlace(const NodePointer& pointer, absl::string_view what) {
  return DamageError(absl::StrCat(DescribeNode(pointer), ": ", what));
}

absl::StatusOr<NodePointer> ChildOf(const NodeView& inner, size_t child) {
  return DecodePointer(inner.value(child));
}

bool IsWithin(const NodeView& node, const KeyRange& range) {
  return node.Compare(0, range.low) >= 0 &&
         (!range.high.has_value() ||
          node.Compare(node.count() - 1, *range.high) < 0);
}

}  // namespace

size_t ChildFor(const NodeView& inner, absl::string_view key) {
  const size_t at = inner.LowerBound(key);
  if (at < inner.count() && inner.Compare(at, key) == 0) return at;
  return at == 0 ? 0 : at - 1;
}

KeyRange ChildRange(const NodeView& inner, size_t child,
                    const KeyRange& range) {
  return {.low = child == 0 ? range.low : inner.key(child),
          .high = child + 1 < inner.count()
                      ? std::optional<std::string>(inner.key(child + 1))
                      : range.high};
}

absl::StatusOr<NodeView> StoredTree::ReadNode(const NodePointer& pointer,
                                              int level,
                                              const KeyRange& range) const {
  VARVE_ASSIGN_OR_RETURN(const NodeView node, reader_->Read(pointer));
  if (level >= 0 && node.level() != level) {
    return OutOfPlace(pointer, "is not of the level that belongs there");
  }
  // Another program may have changed the bytes since they were checked.
  if (node.count() == 0 || !IsWithin(node, range)) {
    return OutOfPlace(pointer, "has keys that do not belong there");
  }
  return node;
}

absl::StatusOr<NodeView> StoredTree::ReadInner(const NodePointer& pointer,
                                               int level,
                                               const KeyRange& range) const {
  VARVE_ASSIGN_OR_RETURN(const NodeView node, ReadNode(pointer, level, range));
  if (node.level() == 0) return OutOfPlace(pointer, "is a leaf");
  return node;
}

absl::Status StoredTree::ReadBases(const KeyRange& range,
                                   LeafRuns* runs) const {
  while (runs->back().is_delta()) {
    VARVE_ASSIGN_OR_RETURN(const NodePointer base,
                           DecodePointer(runs->back().base()));
    if (runs->size() == kMaxRuns) return OutOfPlace(base, "too many deltas");
    VARVE_ASSIGN_OR_RETURN(const NodeView run, ReadNode(base, 0, range));
    runs->push_back(run);
  }
  return absl::OkStatus();
}

absl::StatusOr<LeafRuns> StoredTree::ReadLeaf(const NodePointer& pointer,
                                              const KeyRange& range) const {
  VARVE_ASSIGN_OR_RETURN(const NodeView node, ReadNode(pointer, 0, range));
  LeafRuns runs = {node};
  VARVE_RETURN_IF_ERROR(ReadBases(range, &runs));
  return runs;
}

absl::StatusOr<std::optional<absl::string_view>> StoredTree::Get(
    absl::string_view key) const {
  std::optional<absl::string_view> nothing;
  if (!root_.has_value()) return nothing;
  KeyRange range;
  VARVE_ASSIGN_OR_RETURN(NodeView node, ReadNode(*root_, -1, range));
  for (int level = node.level(); level > 0; --level) {
    const size_t child = ChildFor(node, key);
    range = ChildRange(node, child, range);
    VARVE_ASSIGN_OR_RETURN(const NodePointer pointer, ChildOf(node, child));
    VARVE_ASSIGN_OR_RETURN(node, ReadNode(pointer, level - 1, range));
  }
  for (size_t runs = 1;; ++runs) {
    const size_t at = node.LowerBound(key);
    if (at < node.count() && node.Compare(at, key) == 0) {
      return node.is_erased(at) ? nothing : std::optional(node.value(at));
    }
    if (!node.is_delta()) return nothing;
    VARVE_ASSIGN_OR_RETURN(const NodePointer base, DecodePointer(node.base()));
    if (runs == kMaxRuns) return OutOfPlace(base, "too many deltas");
    VARVE_ASSIGN_OR_RETURN(node, ReadNode(base, 0, range));
  }
}

namespace {

// Where a merge stands in one run. It assembles each key once, reusing the
// memory of the last one.
class RunHead {
 public:
  explicit RunHead(const NodeView& run) : run_(run) { Load(); }

  bool at_end() const { return index_ == run_.count(); }
  size_t index() const { return index_; }
  absl::string_view key() const { return key_; }
  bool is_erased() const { return run_.is_erased(index_); }
  void Next() {
    ++index_;
    Load();
  }

 private:
  void Load() {
    if (!at_end()) run_.GetKey(index_, &key_);
  }

  NodeView run_;
  size_t index_ = 0;
  std::string key_;
};

}  // namespace

std::vector<RunItem> MergeRuns(const LeafRuns& runs) {
  std::vector<RunItem> merged;
  std::vector<RunHead> heads(runs.begin(), runs.end());
  if (!runs.empty()) merged.reserve(runs.back().count());
  while (true) {
    // Find the smallest key. Of equal keys, that of the newest run counts.
    size_t first = heads.size();
    for (size_t run = 0; run < heads.size(); ++run) {
      if (heads[run].at_end()) continue;
      if (first == heads.size() || heads[run].key() < heads[first].key()) {
        first = run;
      }
    }
    if (first == heads.size()) return merged;
    if (!heads[first].is_erased()) {
      merged.push_back({.run = first, .index = heads[first].index()});
    }
    for (size_t run = first + 1; run < heads.size(); ++run) {
      if (!heads[run].at_end() && heads[run].key() == heads[first].key()) {
        heads[run].Next();
      }
    }
    heads[first].Next();
  }
}

absl::string_view TreeCursor::value() const {
  const RunItem& item = items_[position_];
  return runs_[item.run].value(item.index);
}

void TreeCursor::SetKey() {
  if (!valid()) return;
  const RunItem& item = items_[position_];
  runs_[item.run].GetKey(item.index, &key_);
}

absl::Status TreeCursor::EnterLeaf(const NodePointer& pointer,
                                   const KeyRange& range) {
  VARVE_ASSIGN_OR_RETURN(runs_, tree_->ReadLeaf(pointer, range));
  if (runs_.size() > 1) {
    items_ = MergeRuns(runs_);
    return absl::OkStatus();
  }
  items_.resize(runs_[0].count());
  for (size_t i = 0; i < items_.size(); ++i) items_[i] = {.run = 0, .index = i};
  return absl::OkStatus();
}

absl::Status TreeCursor::Descend(absl::string_view key) {
  path_.clear();
  items_.clear();
  position_ = 0;
  if (!tree_->root().has_value()) return absl::OkStatus();
  NodePointer pointer = *tree_->root();
  KeyRange range;
  VARVE_ASSIGN_OR_RETURN(NodeView node, tree_->ReadNode(pointer, -1, range));
  for (int level = node.level(); level > 0; --level) {
    const size_t child = ChildFor(node, key);
    path_.push_back({node, child, range});
    range = ChildRange(node, child, range);
    VARVE_ASSIGN_OR_RETURN(pointer, ChildOf(node, child));
    VARVE_ASSIGN_OR_RETURN(node, tree_->ReadNode(pointer, level - 1, range));
  }
  return EnterLeaf(pointer, range);
}

absl::Status TreeCursor::DescendToEdge(bool last) {
  while (true) {
    const Level& lowest = path_.back();
    KeyRange range = ChildRange(lowest.node, lowest.child, lowest.range);
    VARVE_ASSIGN_OR_RETURN(const NodePointer pointer,
                           ChildOf(lowest.node, lowest.child));
    const int level = lowest.node.level() - 1;
    if (level == 0) return EnterLeaf(pointer, range);
    VARVE_ASSIGN_OR_RETURN(const NodeView node,
                           tree_->ReadInner(pointer, level, range));
    path_.push_back({node, last ? node.count() - 1 : 0, std::move(range)});
  }
}

absl::StatusOr<bool> TreeCursor::StepLeaf(bool forward) {
  while (!path_.empty()) {
    Level& lowest = path_.back();
    if (forward ? lowest.child + 1 < lowest.node.count() : lowest.child > 0) {
      lowest.child += forward ? 1 : -1;
      VARVE_RETURN_IF_ERROR(DescendToEdge(!forward));
      return true;
    }
    path_.pop_back();
  }
  items_.clear();
  return false;
}

absl::Status TreeCursor::SkipEmptyLeaves(bool forward) {
  while (items_.empty() && !path_.empty()) {
    VARVE_ASSIGN_OR_RETURN(const bool stepped, StepLeaf(forward));
    if (!stepped) break;
  }
  position_ = forward || items_.empty() ? 0 : items_.size() - 1;
  SetKey();
  return absl::OkStatus();
}

absl::Status TreeCursor::Seek(absl::string_view key) {
  VARVE_RETURN_IF_ERROR(Descend(key));
  const auto it = std::partition_point(
      items_.begin(), items_.end(), [&](const RunItem& item) {
        return runs_[item.run].Compare(item.index, key) < 0;
      });
  position_ = static_cast<size_t>(it - items_.begin());
  if (valid()) {
    SetKey();
    return absl::OkStatus();
  }
  items_.clear();
  return SkipEmptyLeaves(/*forward=*/true);
}

absl::Status TreeCursor::SeekAtOrBefore(absl::string_view key) {
  VARVE_RETURN_IF_ERROR(Descend(key));
  const auto it = std::partition_point(
      items_.begin(), items_.end(), [&](const RunItem& item) {
        return runs_[item.run].Compare(item.index, key) <= 0;
      });
  if (it != items_.begin()) {
    position_ = static_cast<size_t>(it - items_.begin()) - 1;
    SetKey();
    return absl::OkStatus();
  }
  items_.clear();
  return SkipEmptyLeaves(/*forward=*/false);
}

absl::Status TreeCursor::Next() {
  if (++position_ < items_.size()) {
    SetKey();
    return absl::OkStatus();
  }
  items_.clear();
  return SkipEmptyLeaves(/*forward=*/true);
}

absl::Status TreeCursor::Previous() {
  if (position_ > 0) {
    --position_;
    SetKey();
    return absl::OkStatus();
  }
  items_.clear();
  return SkipEmptyLeaves(/*forward=*/false);
}

}  // namespace varve::fs
