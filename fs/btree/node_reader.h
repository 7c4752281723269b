// NodeReader: reads nodes by their pointers, and compares each with its
// checksum.
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

// Provides the bytes of nodes. Implementations state their thread rules.
class NodeSource {
 public:
  virtual ~NodeSource() = default;

  // The pointer.size bytes at `pointer`, without comparing them with the
  // checksum. Valid as long as the source. DATA_LOSS if there are no such
  // bytes.
  virtual absl::StatusOr<absl::string_view> Fetch(
      const NodePointer& pointer) const = 0;
  // Called if those bytes turned out to be damaged. Returns the original bytes,
  // valid as long as the source; DATA_LOSS if they cannot be recovered.
  virtual absl::StatusOr<absl::string_view> Recover(
      const NodePointer& pointer) const = 0;
};

class NodeReader {
 public:
  // `source` must outlive the reader.
  explicit NodeReader(const NodeSource* source);

  // The node, valid as long as the source. DATA_LOSS if its bytes do not match
  // the pointer's checksum and cannot be recovered, or are not a node. A table
  // of fixed size remembers sound nodes for a while; they are not checked
  // again.
  absl::StatusOr<NodeView> Read(const NodePointer& pointer) const;

 private:
  static constexpr size_t kRemembered = size_t{1} << 17;

  const NodeSource* const source_;
  // Indexed by a hash of place: the checksums of sound nodes, mixed with their
  // places.
  const std::unique_ptr<std::array<std::atomic<uint64_t>, kRemembered>> sound_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_NODE_READER_H_
