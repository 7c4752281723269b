// The bytes around the nodes of a segment that bring back what is damaged of
// it: two blocks of parity (a Reed-Solomon code, by ISA-L), and the checksum of
// each block, which say what is damaged. A page of the file that is lost hits
// two blocks at most, so nothing is lost with it. docs/format.md has the form.
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
// A code has 255 blocks at most.
inline constexpr size_t kMaxNodesSize = (255 - kParityBlocks) * kParityBlock;

// How many bytes come before the nodes of a segment, and behind them, if they
// are so many.
size_t BytesBeforeNodes(size_t nodes_size);
size_t BytesBehindNodes(size_t nodes_size);

// What comes before and behind these nodes, kMaxNodesSize at most.
struct SegmentParity {
  std::string before;
  std::string behind;
};
SegmentParity ParityOf(absl::string_view nodes);

// The nodes of a segment as they were: `whole` is the segment's bytes, with
// those before and behind its nodes, which are `nodes_size`. DATA_LOSS if too
// much of it is damaged.
absl::StatusOr<std::string> RecoverNodes(absl::string_view whole,
                                         size_t nodes_size);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_SEGMENT_PARITY_H_
