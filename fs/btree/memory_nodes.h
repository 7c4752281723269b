// Nodes in memory, for tests: what is appended can be read at once.

#ifndef VARVE_FS_BTREE_MEMORY_NODES_H_
#define VARVE_FS_BTREE_MEMORY_NODES_H_

#include <cstdint>
#include <deque>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/entry/entry.h"
#include "fs/base/error.h"
#include "fs/btree/merge.h"
#include "fs/btree/node_reader.h"

namespace varve::fs {

// A node's offset is 64 times its index, so that each has one of its own.
class MemoryNodes final : public NodeSink, public NodeSource {
 public:
  absl::StatusOr<NodePointer> Append(absl::string_view node) override {
    if (fails_at_ == nodes_.size()) {
      return absl::UnavailableError("the sink fails");
    }
    nodes_.emplace_back(node);
    bytes_ += node.size();
    return NodePointer{.store_offset = 64 * (nodes_.size() - 1),
                       .checksum = HashKey(node),
                       .size = static_cast<uint32_t>(node.size())};
  }
  absl::StatusOr<absl::string_view> Fetch(
      const NodePointer& pointer) const override {
    const uint64_t index = pointer.store_offset / 64;
    if (index >= nodes_.size() || nodes_[index].size() != pointer.size) {
      return DamageError("no such node");
    }
    return nodes_[index];
  }

  // Makes the Append() fail that would write the node of this index.
  void FailAt(size_t index) { fails_at_ = index; }
  size_t count() const { return nodes_.size(); }
  uint64_t bytes() const { return bytes_; }
  std::string& node(size_t index) { return nodes_[index]; }

 private:
  std::deque<std::string> nodes_;  // whose bytes stay where they are
  uint64_t bytes_ = 0;
  size_t fails_at_ = SIZE_MAX;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_MEMORY_NODES_H_
