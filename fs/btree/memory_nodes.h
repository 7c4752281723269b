// MemoryNodes: keeps nodes in memory, for tests. Nodes can be read as soon as
// they are appended. Not thread-safe.

#ifndef VARVE_FS_BTREE_MEMORY_NODES_H_
#define VARVE_FS_BTREE_MEMORY_NODES_H_

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/entry/entry.h"
#include "fs/base/error.h"
#include "fs/btree/merge.h"
#include "fs/btree/node_reader.h"

namespace varve::fs {

// A node's offset is its index.
class MemoryNodes final : public NodeSink, public NodeSource {
 public:
  absl::StatusOr<NodePointer> Append(absl::string_view node) override {
    if (fails_at_ == nodes_.size()) {
      return absl::UnavailableError("the sink fails");
    }
    nodes_.emplace_back(node);
    bytes_ += node.size();
    return NodePointer{.segment = 1,
                       .offset = static_cast<uint32_t>(nodes_.size() - 1),
                       .size = static_cast<uint32_t>(node.size()),
                       .checksum = HashKey(node)};
  }
  void Retire(const NodePointer& node) override {
    retired_.push_back(node.offset);
  }
  absl::StatusOr<absl::string_view> Fetch(
      const NodePointer& pointer) const override {
    const uint32_t index = pointer.offset;
    if (index >= nodes_.size() || nodes_[index].size() != pointer.size) {
      return DamageError("no such node");
    }
    return nodes_[index];
  }
  absl::StatusOr<absl::string_view> Recover(
      const NodePointer& pointer) const override {
    return DamageError(
        absl::StrCat(DescribeNode(pointer), ": checksum mismatch"));
  }

  // Makes the Append() of the node with this index fail.
  void FailAt(size_t index) { fails_at_ = index; }
  size_t count() const { return nodes_.size(); }
  uint64_t bytes() const { return bytes_; }
  std::string& node(size_t index) { return nodes_[index]; }
  // The indexes of retired nodes.
  const std::vector<size_t>& retired() const { return retired_; }

 private:
  std::deque<std::string> nodes_;  // a deque, so that their bytes do not move
  uint64_t bytes_ = 0;
  std::vector<size_t> retired_;
  size_t fails_at_ = SIZE_MAX;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_MEMORY_NODES_H_
