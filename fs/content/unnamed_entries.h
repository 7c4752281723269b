// UnnamedEntries: finds the live entries of a store that belong to no file.
// Another program wrote them, or an unclean stop left them behind.
//
// Thread-safe.

#ifndef VARVE_FS_CONTENT_UNNAMED_ENTRIES_H_
#define VARVE_FS_CONTENT_UNNAMED_ENTRIES_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/log/core.h"

namespace varve::fs {

class UnnamedEntries {
 public:
  // `core` must outlive this.
  explicit UnnamedEntries(Core& core) : core_(core) {}

  // Says that the mount wrote all entries that end above `offset`, so none of
  // them is unnamed. Called when the store is opened and, with relocation_mu
  // held exclusively, when entries move.
  void SetLimit(uint64_t offset) { limit_.store(offset); }

  // Finds all unnamed entries, newest first. This takes long in a large store,
  // and starts again if a compaction moves all entries meanwhile. DATA_LOSS if
  // a node of the tree is damaged, because then the entries of files are not
  // known.
  absl::StatusOr<std::vector<EntryLocation>> Find()
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // The same, for a caller that holds relocation_mu, at least shared. (Clang's
  // analysis does not see that the caller's name of the mutex means the same
  // one, so the function checks it at run time.)
  absl::StatusOr<std::vector<EntryLocation>> FindInPlace();

  // The bytes that unnamed entries took at the last search.
  uint64_t bytes() const { return bytes_.load(); }

 private:
  absl::StatusOr<std::vector<EntryLocation>> FindOnce();

  Core& core_;
  std::atomic<uint64_t> limit_{0};
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_UNNAMED_ENTRIES_H_
