// Snapshots that the policy of a store makes and removes by itself.
//
// Thread-safe, as the annotations say.

#ifndef VARVE_FS_HISTORY_AUTOMATIC_SNAPSHOTS_H_
#define VARVE_FS_HISTORY_AUTOMATIC_SNAPSHOTS_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "fs/format/timestamp.h"
#include "fs/log/core.h"

namespace varve::fs {

// What is remembered of the newest automatic snapshot of a session: a user may
// have deleted it.
struct NewestAutomatic {
  uint64_t sequence = 0;  // 0 if there was none
  Timestamp time;
};

// In one commit, makes a snapshot, named by its time, if a period of the policy
// has begun since the last automatic one and the tree has changed since then;
// and removes the automatic snapshots that the policy no longer keeps. Does
// nothing if there is nothing to do. Returns whether it made one. The store
// must stay where it is: hold relocation_mu or checkpoint_mu. Fails as a commit
// does; DATA_LOSS if what leads to the moments is damaged.
absl::StatusOr<bool> UpdateAutomaticSnapshots(Core& core, Timestamp now,
                                              NewestAutomatic& newest)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
        ABSL_LOCKS_EXCLUDED(core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_AUTOMATIC_SNAPSHOTS_H_
