// Checkpoints: from them on, a mount replays only what was committed since.

#ifndef VARVE_FS_LOG_CHECKPOINT_H_
#define VARVE_FS_LOG_CHECKPOINT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "fs/log/core.h"

namespace varve::fs {

// Writes what has changed in the tree since the last checkpoint into segments,
// and then a checkpoint that names the root; remembers it as the newest, and
// appends an image of the index if that is due. Operations go on meanwhile.
// On failure all is as it was, but that the store may have grown.
absl::Status WriteCheckpoint(Core& core, Timestamp now)
    ABSL_LOCKS_EXCLUDED(core.checkpoint_mu, core.commit_mu, core.tree_mu);

// Writes all of core.log_tree, whose nodes lie in another store, into one that
// has the entries of it but no record yet: twice, with a checkpoint each, which
// have no node in common. From then on the tree is that of the second.
absl::Status WriteFirstCheckpoints(Core& core, Timestamp now)
    ABSL_LOCKS_EXCLUDED(core.checkpoint_mu, core.commit_mu, core.tree_mu);

// Makes the tree in the log be an empty one, in core.store.
absl::Status ResetLogTree(Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.tree_mu);

// Appends an image of the store's index if so much was appended since the last
// one that opening the store would take longer than it has to.
absl::Status WriteIndexImageIfDue(Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

// Whether so much has been committed since the last checkpoint that a new one
// pays: more would take long to be replayed.
bool CheckpointIsDue(Core& core)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_CHECKPOINT_H_
