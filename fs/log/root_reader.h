// Reading what a checkpoint says of the tree.
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
// UNIMPLEMENTED if it is that of a version that had none.
absl::StatusOr<TreeRoot> ReadRoot(const EntryView& checkpoint);

// Has the root say where its segments are in a store that was relocated. Of one
// that is not there it says what it did: reading a node of it is an error then.
void FindSegments(const Store& store, const Identity& identity, TreeRoot& root);

// The segments that the checkpoint before this one needs, and this one does
// not; none if that cannot be read.
std::vector<Segment> SegmentsOnlyBefore(const Store& store,
                                        const Identity& identity,
                                        const TreeRoot& root);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_ROOT_READER_H_
