// Counting how much of a store is live. Thread-safe: there is no state.

#ifndef VARVE_FS_COMPACTION_LIVE_BYTES_H_
#define VARVE_FS_COMPACTION_LIVE_BYTES_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "fs/compaction/compaction.h"
#include "fs/content/open_files.h"
#include "fs/content/unnamed_entries.h"
#include "fs/history/history_plan.h"
#include "fs/log/core.h"

namespace varve::fs {

// Bytes of content in the store that files have: of the tree, and of deleted
// ones that are still in use. What several share counts once. Goes through the
// whole tree where it may have clones, which takes its time; nobody waits for
// it.
uint64_t CountContentBytes(Core& core) ABSL_LOCKS_EXCLUDED(core.tree_mu);

// About the length of a store that holds only this tree.
uint64_t EstimateLiveBytes(Core& core) ABSL_LOCKS_EXCLUDED(core.tree_mu);

// Bytes of open files that lie in the store, but in no commit yet.
uint64_t CountSpilledBytes(const OpenFiles& open_files);

// About how many bytes of a store in use are live.
uint64_t CountLiveBytes(Core& core, const OpenFiles& open_files,
                        const UnnamedEntries& unnamed)
    ABSL_LOCKS_EXCLUDED(core.tree_mu);

// Of `allocated` bytes of which `live` are live, those that the policy leaves
// to the past. Snapshots may hold more. DATA_LOSS if the tree is damaged.
absl::StatusOr<uint64_t> CountHistoryBytes(const Core& core, uint64_t live,
                                           uint64_t allocated)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// What a compaction may leave to history. Errors: those of Store::Info().
absl::StatusOr<HistoryBounds> BoundHistory(Core& core, bool forget)
    ABSL_LOCKS_EXCLUDED(core.tree_mu);

// Statistics of a store in use. Errors: those of Store::Info().
absl::StatusOr<StoreStatistics> CountStatistics(Core& core,
                                                const OpenFiles& open_files,
                                                const UnnamedEntries& unnamed)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_LIVE_BYTES_H_
