// Compares contents of files by where their bytes lie, without reading them.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_TREE_CONTENT_DIFFERENCE_H_
#define VARVE_FS_TREE_CONTENT_DIFFERENCE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "fs/format/extent.h"

namespace varve::fs {

struct ContentDifference {
  bool differs = false;
  // The bytes that the new content has and the old one does not have at the
  // same place. Holes have none.
  uint64_t new_bytes = 0;
};

// Compares two contents. Both lists of extents are in order, without holes and
// without overlaps. What they do not cover is a hole, or the same in both.
//
// Two ranges are equal if they lie at the same place in entries of the same
// size and checksum, wherever these entries are. So a file that was written
// again with the same bytes does not differ. A hole differs from zeros.
ContentDifference CompareExtents(absl::Span<const Extent> before,
                                 absl::Span<const Extent> after);

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_CONTENT_DIFFERENCE_H_
