// Takeover: what another program has written and deleted in the store while it
// was closed becomes what the files are (docs/format.md, "Entries that no
// commit names" and "Relocated stores").
//
// A free function without state; the thread that opens calls it.

#ifndef VARVE_FS_VOLUME_TAKEOVER_H_
#define VARVE_FS_VOLUME_TAKEOVER_H_

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "fs/base/incidents.h"
#include "fs/format/timestamp.h"
#include "fs/log/core.h"
#include "fs/log/loader.h"

namespace varve::fs {

// For a store that was closed properly; `loaded` is from LoadTree(). Commits
// the changes, or makes them in memory alone if the store is read-only. Returns
// whether there were any. What need not succeed is reported to `incidents`.
absl::StatusOr<bool> TakeOver(Core& core, const LoadResult& loaded,
                              Timestamp now, const Incidents& incidents)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_TAKEOVER_H_
