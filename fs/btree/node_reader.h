// NodeReader: nodes by their pointers, each compared with its checksum.
//
// Thread-safe, as long as its NodeSource is.

#ifndef VARVE_FS_BTREE_NODE_READER_H_
#define VARVE_FS_BTREE_NODE_READER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/node.h"

namespace varve::fs {

// Where the bytes of nodes are. Implementations say themselves from which
// threads they may be called.
class NodeSource {
 public:
  virtual ~NodeSource() = default;

  // The bytes that `pointer` leads to, pointer.size of them, not compared with
  // anything. They stay valid as long as the source does. DATA_LOSS if there
  // are no such bytes.
  virtual absl::StatusOr<absl::string_view> Fetch(
      const NodePointer& pointer) const = 0;
  // The same once those have turned out to be damaged: what they were, if that
  // can be told; valid as long. DATA_LOSS if not.
  virtual absl::StatusOr<absl::string_view> Recover(
      const NodePointer& pointer) const = 0;
};

class NodeReader {
 public:
  // `source` must outlive the reader.
  explicit NodeReader(const NodeSource* source);

  // The node, valid as long as the source. DATA_LOSS if its bytes do not have
  // the pointer's checksum, nor those that are recovered, or are no node. What
  // was found sound is remembered for a while, in a table of fixed size, and
  // not looked at again.
  absl::StatusOr<NodeView> Read(const NodePointer& pointer) const;

 private:
  static constexpr size_t kRemembered = size_t{1} << 17;

  const NodeSource* const source_;
  // The checksums of sound nodes, mixed with their place; by their place.
  const std::unique_ptr<std::array<std::atomic<uint64_t>, kRemembered>> sound_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_NODE_READER_H_
