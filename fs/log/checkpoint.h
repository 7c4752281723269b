// The checkpoint: the whole tree as one entry, so that a mount replays only
// what was committed after it.

#ifndef VARVE_FS_LOG_CHECKPOINT_H_
#define VARVE_FS_LOG_CHECKPOINT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "fs/log/core.h"

namespace varve::fs {

// Appends a checkpoint of the tree as it is and remembers it as the newest, and
// after it an image of the index if that is due.
absl::Status WriteCheckpoint(Core& core, Timestamp now)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

// Appends an image of the store's index if so much was appended since the last
// one that opening the store would take longer than it has to.
absl::Status WriteIndexImageIfDue(Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

// Whether so much has been committed since the last checkpoint that a new one
// pays: replaying the log would cost more than reading a new checkpoint.
bool CheckpointIsDue(Core& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_CHECKPOINT_H_
