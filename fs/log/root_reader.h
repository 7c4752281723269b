// Reading the root of a tree from its checkpoint, and finding the segments that
// hold the tree's nodes.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_LOG_ROOT_READER_H_
#define VARVE_FS_LOG_ROOT_READER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/format/identity.h"
#include "fs/log/tree_root.h"

namespace varve::fs {

// The root that the checkpoint names. DATA_LOSS if the record is malformed,
// UNIMPLEMENTED if an early version of Varve wrote it, whose checkpoints name
// none.
absl::StatusOr<TreeRoot> ReadRoot(const EntryView& checkpoint);

// Sets the offsets of the root's segments to where they lie in a relocated
// store. The offset of a segment that is not found stays as it is; reading a
// node of it is an error then.
void FindSegments(const Store& store, const Identity& identity, TreeRoot& root);

// The segments that the checkpoint before this one needs, and this one does
// not; none if the checkpoint before cannot be read.
std::vector<Segment> SegmentsOnlyBefore(const Store& store,
                                        const Identity& identity,
                                        const TreeRoot& root);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_ROOT_READER_H_
