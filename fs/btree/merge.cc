#include "fs/btree/merge.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/status.h"

namespace varve::fs {
namespace {

// Nodes smaller than this are joined with a neighbour.
constexpr size_t kSmallNode = kNodeTarget / 4;

using ChangeIterator = Overlay::Map::const_iterator;

// A node, and the separator from which on keys belong in it.
struct Child {
  std::string separator;
  NodePointer pointer;
};
using Children = std::vector<Child>;
// The pointers to only children, by the place of the inner nodes that have one.
using OnlyChildren = absl::flat_hash_map<uint64_t, NodePointer>;

// Fills nodes of one level with items that come in order.
class Packer {
 public:
  Packer(int level, NodeSink* sink, Children* children, OnlyChildren* only)
      : level_(level), sink_(sink), children_(children), only_(only) {}

  // Says where the range of the next node begins, unless a node is begun
  // already.
  void Begin(absl::string_view separator) {
    if (builder_.count() == 0) separator_ = std::string(separator);
  }

  absl::Status Add(absl::string_view key, absl::string_view value) {
    builder_.Add(key, value);
    if (builder_.size() < 2 * kNodeTarget || builder_.count() == 1) {
      return absl::OkStatus();
    }
    return Emit(builder_.BuildFirstHalf(level_));
  }

  // Whether the items that are not written yet would make a small node.
  bool is_small() const {
    return builder_.count() > 0 && builder_.size() < kSmallNode;
  }

  // Writes the items that are left. The next item begins a new node.
  absl::Status Finish() {
    if (builder_.count() > 1 && builder_.size() > kNodeTarget) {
      VARVE_RETURN_IF_ERROR(Emit(builder_.BuildFirstHalf(level_)));
    }
    if (builder_.count() == 0) return absl::OkStatus();
    return Emit(builder_.Build(level_));
  }

 private:
  absl::Status Emit(const std::string& node) {
    VARVE_ASSIGN_OR_RETURN(const NodePointer pointer, sink_->Append(node));
    children_->push_back({std::move(separator_), pointer});
    const NodeView view(node);
    if (level_ > 0 && view.count() == 1) {
      VARVE_ASSIGN_OR_RETURN((*only_)[pointer.place()],
                             DecodePointer(view.value(0)));
    }
    if (builder_.count() == 0) return absl::OkStatus();
    if (level_ > 0) {
      separator_ = std::string(builder_.first_key());
      return absl::OkStatus();
    }
    // The shortest prefix of the next key that is above the last key here.
    const std::string last = view.key(view.count() - 1);
    const absl::string_view next = builder_.first_key();
    separator_ = std::string(next.substr(0, CommonPrefix(last, next) + 1));
    return absl::OkStatus();
  }

  const int level_;
  NodeSink* const sink_;
  Children* const children_;
  OnlyChildren* const only_;
  std::string separator_;
  NodeBuilder builder_;
};

class Merger {
 public:
  // Both must outlive the merger.
  Merger(const StoredTree& stored, NodeSink* sink)
      : stored_(stored), sink_(sink) {}

  absl::StatusOr<std::optional<NodePointer>> Merge(const Overlay& changes);
  absl::StatusOr<std::optional<NodePointer>> Build(ItemSource items);

 private:
  // Lays the changes in [begin, end) over `children`, which are nodes of
  // `level`. Returns the nodes of the same level that replace them.
  absl::StatusOr<Children> MergeChildren(int level, const Children& children,
                                         const KeyRange& range,
                                         ChangeIterator begin,
                                         ChangeIterator end);
  // Adds to the packer the items of the leaf, with the changes laid over them.
  absl::Status AddLeaf(const LeafRuns& runs, ChangeIterator begin,
                       ChangeIterator end, Packer* packer);
  // Adds to the packer the pointers that replace those in the node.
  absl::Status AddInner(const NodeView& inner, const KeyRange& range,
                        ChangeIterator begin, ChangeIterator end,
                        Packer* packer);
  absl::Status AddNode(int level, const Child& child, const KeyRange& range,
                       ChangeIterator begin, ChangeIterator end,
                       Packer* packer);
  // Writes a delta for the leaf, if that is worth it; else returns nothing.
  absl::StatusOr<std::optional<NodePointer>> TryDelta(const Child& child,
                                                      const LeafRuns& runs,
                                                      ChangeIterator begin,
                                                      ChangeIterator end);
  // Writes levels of inner nodes above `children`, which are of `level`, until
  // there is a single root.
  absl::StatusOr<std::optional<NodePointer>> Grow(int level, Children children);

  const StoredTree& stored_;
  NodeSink* const sink_;
  OnlyChildren only_;
};

// The size of a delta, or of several.
struct Weight {
  size_t items = 0;
  size_t bytes = 0;

  void Add(absl::string_view key, size_t value_size) {
    ++items;
    bytes += key.size() + value_size;
  }
};

absl::Status Merger::AddLeaf(const LeafRuns& runs, ChangeIterator begin,
                             ChangeIterator end, Packer* packer) {
  for (const RunItem& item : MergeRuns(runs)) {
    const std::string key = runs[item.run].key(item.index);
    for (; begin != end && begin->first < key; ++begin) {
      if (!begin->second.value.has_value()) continue;
      VARVE_RETURN_IF_ERROR(packer->Add(begin->first, *begin->second.value));
    }
    absl::string_view value = runs[item.run].value(item.index);
    if (begin != end && begin->first == key) {
      const auto& change = (begin++)->second.value;
      if (!change.has_value()) continue;
      value = *change;
    }
    VARVE_RETURN_IF_ERROR(packer->Add(key, value));
  }
  for (; begin != end; ++begin) {
    if (!begin->second.value.has_value()) continue;
    VARVE_RETURN_IF_ERROR(packer->Add(begin->first, *begin->second.value));
  }
  return absl::OkStatus();
}

absl::Status Merger::AddInner(const NodeView& inner, const KeyRange& range,
                              ChangeIterator begin, ChangeIterator end,
                              Packer* packer) {
  Children children;
  for (size_t i = 0; i < inner.count(); ++i) {
    VARVE_ASSIGN_OR_RETURN(const NodePointer pointer,
                           DecodePointer(inner.value(i)));
    children.push_back({inner.key(i), pointer});
  }
  VARVE_ASSIGN_OR_RETURN(
      children, MergeChildren(inner.level() - 1, children, range, begin, end));
  for (const Child& child : children) {
    std::string value;
    EncodePointer(child.pointer, &value);
    VARVE_RETURN_IF_ERROR(packer->Add(child.separator, value));
  }
  return absl::OkStatus();
}

absl::Status Merger::AddNode(int level, const Child& child,
                             const KeyRange& range, ChangeIterator begin,
                             ChangeIterator end, Packer* packer) {
  packer->Begin(child.separator);
  if (level > 0) {
    VARVE_ASSIGN_OR_RETURN(const NodeView inner,
                           stored_.ReadInner(child.pointer, level, range));
    sink_->Retire(child.pointer);
    return AddInner(inner, range, begin, end, packer);
  }
  VARVE_ASSIGN_OR_RETURN(const LeafRuns runs,
                         stored_.ReadLeaf(child.pointer, range));
  sink_->Retire(child.pointer);
  for (size_t run = 0; run + 1 < runs.size(); ++run) {
    VARVE_ASSIGN_OR_RETURN(const NodePointer base,
                           DecodePointer(runs[run].base()));
    sink_->Retire(base);
  }
  return AddLeaf(runs, begin, end, packer);
}

absl::StatusOr<std::optional<NodePointer>> Merger::TryDelta(
    const Child& child, const LeafRuns& runs, ChangeIterator begin,
    ChangeIterator end) {
  std::optional<NodePointer> nothing;
  if (runs.size() == kMaxRuns) return nothing;
  Weight weight;
  for (size_t run = 0; run + 1 < runs.size(); ++run) {
    weight.items += runs[run].count();
    weight.bytes += runs[run].size();
  }
  // Deltas may have at most half of the leaf's bytes, or else reading would
  // become slow, and half of its items, or else leaves would stay that have
  // hardly any items left.
  for (auto it = begin; it != end; ++it) {
    weight.Add(it->first, it->second.value ? it->second.value->size() : 0);
    if (weight.items > runs.back().count() / 2 ||
        weight.bytes > runs.back().size() / 2) {
      return nothing;
    }
  }
  NodeBuilder builder;
  for (auto it = begin; it != end; ++it) {
    if (it->second.value.has_value()) {
      builder.Add(it->first, *it->second.value);
    } else {
      builder.AddErased(it->first);
    }
  }
  std::string base;
  EncodePointer(child.pointer, &base);
  VARVE_ASSIGN_OR_RETURN(const NodePointer delta,
                         sink_->Append(builder.Build(0, base)));
  return std::optional(delta);
}

absl::StatusOr<Children> Merger::MergeChildren(int level,
                                               const Children& children,
                                               const KeyRange& range,
                                               ChangeIterator begin,
                                               ChangeIterator end) {
  Children merged;
  Packer packer(level, sink_, &merged, &only_);
  for (size_t i = 0; i < children.size(); ++i) {
    const Child& child = children[i];
    const bool is_last = i + 1 == children.size();
    const KeyRange child_range = {
        .low = i == 0 ? range.low : child.separator,
        .high = is_last
                    ? range.high
                    : std::optional<std::string>(children[i + 1].separator)};
    ChangeIterator child_end = begin;
    if (is_last) {
      child_end = end;
    } else {
      while (child_end != end && child_end->first < *child_range.high) {
        ++child_end;
      }
    }
    // If a small node is begun, the next child goes into it.
    if (!packer.is_small()) {
      std::optional<NodePointer> kept;
      if (child_end == begin) kept = child.pointer;
      if (!kept.has_value() && level == 0) {
        VARVE_ASSIGN_OR_RETURN(const LeafRuns runs,
                               stored_.ReadLeaf(child.pointer, child_range));
        VARVE_ASSIGN_OR_RETURN(kept, TryDelta(child, runs, begin, child_end));
      }
      if (kept.has_value()) {
        VARVE_RETURN_IF_ERROR(packer.Finish());
        merged.push_back({child.separator, *kept});
        begin = child_end;
        continue;
      }
    }
    VARVE_RETURN_IF_ERROR(
        AddNode(level, child, child_range, begin, child_end, &packer));
    begin = child_end;
  }
  VARVE_RETURN_IF_ERROR(packer.Finish());
  return merged;
}

absl::StatusOr<std::optional<NodePointer>> Merger::Grow(int level,
                                                        Children children) {
  while (children.size() > 1) {
    Children above;
    Packer packer(++level, sink_, &above, &only_);
    packer.Begin({});
    for (const Child& child : children) {
      std::string value;
      EncodePointer(child.pointer, &value);
      VARVE_RETURN_IF_ERROR(packer.Add(child.separator, value));
    }
    VARVE_RETURN_IF_ERROR(packer.Finish());
    children = std::move(above);
  }
  std::optional<NodePointer> root;
  if (!children.empty()) root = children[0].pointer;
  // Drop inner nodes above the tree's root that have only one child.
  while (root.has_value() && only_.contains(root->place())) {
    sink_->Retire(*root);
    root = only_[root->place()];
  }
  return root;
}

absl::StatusOr<std::optional<NodePointer>> Merger::Merge(
    const Overlay& changes) {
  std::optional<NodePointer> root = stored_.root();
  if (changes.empty()) return root;
  const ChangeIterator begin = changes.items().begin();
  const ChangeIterator end = changes.items().end();
  Children children;
  int level = 0;
  if (!root.has_value()) {
    Packer packer(0, sink_, &children, &only_);
    VARVE_RETURN_IF_ERROR(AddLeaf({}, begin, end, &packer));
    VARVE_RETURN_IF_ERROR(packer.Finish());
  } else {
    VARVE_ASSIGN_OR_RETURN(const NodeView node,
                           stored_.ReadNode(*root, -1, KeyRange()));
    level = node.level();
    VARVE_ASSIGN_OR_RETURN(
        children, MergeChildren(level, {{"", *root}}, KeyRange(), begin, end));
  }
  VARVE_ASSIGN_OR_RETURN(root, Grow(level, std::move(children)));
  return root;
}

absl::StatusOr<std::optional<NodePointer>> Merger::Build(ItemSource items) {
  Children leaves;
  Packer packer(0, sink_, &leaves, &only_);
  VARVE_RETURN_IF_ERROR(
      items([&packer](absl::string_view key, absl::string_view value) {
        return packer.Add(key, value);
      }));
  VARVE_RETURN_IF_ERROR(packer.Finish());
  return Grow(0, std::move(leaves));
}

}  // namespace

absl::StatusOr<std::optional<NodePointer>> MergeOverlay(
    const StoredTree& stored, const Overlay& changes, NodeSink* sink) {
  return Merger(stored, sink).Merge(changes);
}

absl::StatusOr<std::optional<NodePointer>> BuildTree(ItemSource items,
                                                     NodeSink* sink) {
  const StoredTree nothing(nullptr, std::nullopt);
  return Merger(nothing, sink).Build(items);
}

absl::StatusOr<std::optional<NodePointer>> BuildTree(const LayeredTree& items,
                                                     NodeSink* sink) {
  return BuildTree(
      [&items](AddItem add) {
        LayeredCursor cursor(&items);
        absl::Status status = cursor.Seek({});
        while (status.ok() && cursor.valid()) {
          status = add(cursor.key(), cursor.value());
          if (status.ok()) status = cursor.Next();
        }
        return status;
      },
      sink);
}

}  // namespace varve::fs
