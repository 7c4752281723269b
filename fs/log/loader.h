// Loading a tree from its store: reads the newest checkpoint, then replays
// every commit after it in the order of their sequence numbers (docs/format.md,
// "Replay").

#ifndef VARVE_FS_LOG_LOADER_H_
#define VARVE_FS_LOG_LOADER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/io/file.h"
#include "engine/mend/mend.h"
#include "engine/store/store.h"
#include "fs/format/identity.h"
#include "fs/log/core.h"

namespace varve::fs {

struct LoadResult {
  // Whether the newest commit says that the store was closed properly.
  bool clean = false;
  // Entries behind the newest commit, newest first. They are another program's
  // if the store was closed properly, or else what an unclean stop has left.
  std::vector<EntryLocation> behind;
  // Whether the store was rearranged since its commits were written, as
  // another program's compaction does.
  bool relocated = false;
  // Only for a relocated store: the key hashes that another program has deleted
  // since. Their newest entry is a tombstone that no record in its place
  // follows.
  absl::flat_hash_set<uint64_t> deleted;
  // Data ids below this one were drawn before the checkpoint.
  uint64_t first_data_id = 1;
  // The data ids of the live entries above the checkpoint, in no order; in a
  // relocated store of all live entries.
  std::vector<uint64_t> data_ids;
  // The key hashes of all entries that a commit after the checkpoint names.
  absl::flat_hash_set<uint64_t> named;
  // Whether the newest checkpoint could not be read, and the tree comes from
  // the one before it and the commits since.
  bool rebuilt = false;
  // What was skipped or ignored, in sentences for the user.
  std::vector<std::string> notes;
};

// Fills core.log_tree and the counters of `core`; core.store and core.identity
// are set. DATA_LOSS if a commit is damaged or missing, UNIMPLEMENTED if one
// needs a newer version.
//
// kWhatIsLeft skips what is damaged or missing and reports it in the notes.
// Files may then have an older state.
enum class LoadMode { kAll, kWhatIsLeft };
absl::StatusOr<LoadResult> LoadTree(Core& core, LoadMode mode = LoadMode::kAll);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_LOADER_H_
