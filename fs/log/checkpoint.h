// Checkpoints. A checkpoint writes the tree's changed nodes into the store, so
// that a mount begins with that tree and replays only the commits since.
//
// Thread-safe, except as the annotations say.

#ifndef VARVE_FS_LOG_CHECKPOINT_H_
#define VARVE_FS_LOG_CHECKPOINT_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/btree/merge.h"
#include "fs/log/core.h"

namespace varve::fs {

// Writes a checkpoint: first segments with the nodes that have changed since
// the last one, then a record that names the root. Appends an image of the
// index, too, if that is due. Other operations go on meanwhile. On failure, the
// tree is as it was, though the store may have grown.
absl::Status WriteCheckpoint(Core& core, Timestamp now)
    ABSL_LOCKS_EXCLUDED(core.checkpoint_mu, core.commit_mu, core.tree_mu);

// The same for the moment that `commit` makes, which is called with commit_mu
// held and returns whether it has made one; if not, nothing is written. If that
// moment has a name, it is found at this checkpoint from then on, so that
// opening it replays no commit. An error may be that of `commit`, or of the
// checkpoint once that is done.
absl::Status WriteCheckpointOf(Core& core, Timestamp now,
                               absl::FunctionRef<absl::StatusOr<bool>()> commit)
    ABSL_LOCKS_EXCLUDED(core.checkpoint_mu, core.commit_mu, core.tree_mu);

// Whether opening a moment that is made now would take noticeably long without
// a checkpoint of it.
bool MomentNeedsCheckpoint(Core& core) ABSL_LOCKS_EXCLUDED(core.commit_mu);

// Begins the records of a new store: the nodes of core.log_tree still lie in
// another store; core.store has the entries but no record yet. Writes the whole
// tree twice, each time with a checkpoint of its own, so that the two
// checkpoints share no node. `items` gives the tree's items as they are to be;
// it is called for each of the two. Afterwards, core.log_tree is the tree of
// the second checkpoint.
absl::Status WriteFirstCheckpoints(Core& core, Timestamp now, ItemSource items)
    ABSL_LOCKS_EXCLUDED(core.checkpoint_mu, core.commit_mu, core.tree_mu);

// Replaces core.log_tree by an empty tree in core.store.
absl::Status ResetLogTree(Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.tree_mu);

// Appends an image of the store's index if so many entries were appended since
// the last image that indexing them would delay opening the store.
absl::Status WriteIndexImageIfDue(Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

// Whether something was purged since the last checkpoint: the window of history
// begins anew with the next one. Also false if that checkpoint is damaged.
bool PurgeNeedsCheckpoint(Core& core)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

// Whether a new checkpoint pays: because replaying the commits since the last
// one would take long, or for PurgeNeedsCheckpoint().
bool CheckpointIsDue(Core& core)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_CHECKPOINT_H_
