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
#include "fs/log/used_ranges.h"
#include "fs/tree/data_id_ranges.h"

namespace varve::fs {

class UnnamedEntries {
 public:
  // `core` must outlive this.
  explicit UnnamedEntries(Core& core) : core_(core) {}

  // Says that the mount wrote all entries that end above `offset`, so none of
  // them is unnamed. Called when the store is opened and, with relocation_mu
  // held exclusively, when entries move.
  void SetLimit(uint64_t offset) { limit_.store(offset); }

  struct Found {
    std::vector<EntryLocation> entries;
    // Core::relocations: as long as it is that, they lie there.
    uint64_t relocations = 0;
  };
  // All of them, newest first. In a large store this takes its time, and nobody
  // waits for it; a compaction that moves everything meanwhile makes it begin
  // again. DATA_LOSS if a node of the tree is damaged: then it cannot be told
  // which they are.
  absl::StatusOr<Found> Find() ABSL_LOCKS_EXCLUDED(core_.relocation_mu);

  // The bytes that unnamed entries took at the last search.
  uint64_t bytes() const { return bytes_.load(); }

 private:
  absl::StatusOr<std::vector<EntryLocation>> FindOnce();
  // Those whose metadata lies in [used.begin(), end). Data with an id in `kept`
  // is unnamed, and with any other that was drawn it is dead data of the tree.
  std::vector<EntryLocation> FindBetween(const UsedRanges& used, uint64_t end,
                                         const DataIdRanges& kept) const;

  Core& core_;
  std::atomic<uint64_t> limit_{0};
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_UNNAMED_ENTRIES_H_
