// Takeover: applies to the tree what another program wrote and deleted in the
// store while it was not mounted (docs/format.md, "Entries that no commit
// names" and "Relocated stores").
//
// Thread-safe: there is no state. Called by the thread that opens the store.

#ifndef VARVE_FS_VOLUME_TAKEOVER_H_
#define VARVE_FS_VOLUME_TAKEOVER_H_

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "fs/base/incidents.h"
#include "fs/format/timestamp.h"
#include "fs/log/core.h"
#include "fs/log/loader.h"

namespace varve::fs {

// The store must have been closed properly; `loaded` is the result of
// LoadTree(). Commits the changes, or makes them only in memory if the store is
// read-only. Returns whether there were any. Reports failures that do no harm
// to `incidents`.
absl::StatusOr<bool> TakeOver(Core& core, const LoadResult& loaded,
                              Timestamp now, const Incidents& incidents)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_TAKEOVER_H_
