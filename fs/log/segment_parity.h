// Parity of segments: the bytes before and behind the nodes of a segment from
// which damaged nodes are recovered. They are two blocks of parity (a
// Reed-Solomon code, computed by ISA-L) and the checksums of all blocks, which
// tell which blocks are damaged. A lost page of the file hits at most two
// blocks, so its bytes can always be recovered. docs/format.md specifies the
// bytes.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_LOG_SEGMENT_PARITY_H_
#define VARVE_FS_LOG_SEGMENT_PARITY_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace varve::fs {

inline constexpr size_t kParityBlock = 4096;
inline constexpr size_t kParityBlocks = 2;
// The code has at most 255 blocks.
inline constexpr size_t kMaxNodesSize = (255 - kParityBlocks) * kParityBlock;

// How many bytes come before and behind the nodes of a segment, for nodes of
// `nodes_size` bytes.
size_t BytesBeforeNodes(size_t nodes_size);
size_t BytesBehindNodes(size_t nodes_size);

// The bytes before and behind `nodes`, which have at most kMaxNodesSize bytes.
struct SegmentParity {
  std::string before;
  std::string behind;
};
SegmentParity ParityOf(absl::string_view nodes);

// Recovers the nodes of a segment as they were written. `whole` is the segment
// with the bytes before and behind its nodes; the nodes have `nodes_size`
// bytes. DATA_LOSS if too much of it is damaged.
absl::StatusOr<std::string> RecoverNodes(absl::string_view whole,
                                         size_t nodes_size);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_SEGMENT_PARITY_H_
