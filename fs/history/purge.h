// Purging: taking a path out of the past.
//
// A purge is a change of the newest tree that says: moments before this commit
// do not have this path. PastTree::Open() takes it out of the trees of such
// moments. The window begins anew behind a purge, as the commits before it
// would bring the path back (PlanHistory()); the hours of the former window are
// kept as automatic snapshots.

#ifndef VARVE_FS_HISTORY_PURGE_H_
#define VARVE_FS_HISTORY_PURGE_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/log/core.h"

namespace varve::fs {

// What was purged, for PastTree::Open(). DATA_LOSS if the tree is damaged.
absl::StatusOr<std::vector<PurgedPath>> ReadPurgedPaths(Core& core)
    ABSL_LOCKS_EXCLUDED(core.tree_mu);

// The moments that have a path.
struct MomentsWithPath {
  std::vector<std::string> snapshots;  // their names, oldest first
  bool in_window = false;  // one that is kept and is no snapshot may have it
  bool in_present = false;

  bool none_past() const { return snapshots.empty() && !in_window; }
};

// Finds the moments that have this path (see IsValidPath()). Reads the log of
// the window, and opens the tree of each snapshot. The store must stay where it
// is: hold relocation_mu. DATA_LOSS if what leads to moments is damaged.
absl::StatusOr<MomentsWithPath> FindMomentsWithPath(Core& core,
                                                    absl::string_view path)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

// Commits that the path is purged from all moments so far. Gives those of the
// window names that are the last of a full hour (of the last two days; before
// that, of a day), if `keep_hours`. `now` is the time. Hold relocation_mu.
// Works on a full disk.
absl::Status CommitPurge(Core& core, absl::string_view path, bool keep_hours,
                         Timestamp now)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_PURGE_H_
