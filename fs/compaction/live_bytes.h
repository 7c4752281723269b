// How much of a store is needed by somebody.

#ifndef VARVE_FS_COMPACTION_LIVE_BYTES_H_
#define VARVE_FS_COMPACTION_LIVE_BYTES_H_

#include <cstdint>

#include "fs/content/open_files.h"
#include "fs/log/core.h"

namespace varve::fs {

// Bytes of content in the store that files have: of the tree, and of deleted
// ones that are still in use. What several share counts once. Goes through the
// whole tree where it may have clones.
uint64_t CountContentBytes(Core& core) ABSL_LOCKS_EXCLUDED(core.tree_mu);

// About the length of a store that holds nothing but this tree, as it is.
uint64_t EstimateLiveBytes(Core& core) ABSL_LOCKS_EXCLUDED(core.tree_mu);

// Bytes that have been written to open files, are in the store and in no commit
// yet.
uint64_t CountSpilledBytes(const OpenFiles& open_files);

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_LIVE_BYTES_H_
