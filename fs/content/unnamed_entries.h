// UnnamedEntries: finds the live entries of a store that belong to no file.
// Another program has written them, or an unclean stop has left them behind.
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

  // Says that entries which end above `offset` are not unnamed: the mount has
  // written them. Called when the store is opened, and with relocation_mu held
  // alone when entries move.
  void SetLimit(uint64_t offset) { limit_.store(offset); }

  // All of them, newest first. In a large store this takes its time; a
  // compaction that moves everything meanwhile makes it begin again. DATA_LOSS
  // if a node of the tree is damaged: then it cannot be told which they are.
  absl::StatusOr<std::vector<EntryLocation>> Find()
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // The same for a caller that keeps entries where they are: relocation_mu is
  // held, at least shared. (Callers know it by another name, which Clang's
  // analysis does not see through; so the function itself looks.)
  absl::StatusOr<std::vector<EntryLocation>> FindInPlace();

  // The bytes that they took when they were looked for last.
  uint64_t bytes() const { return bytes_.load(); }

 private:
  absl::StatusOr<std::vector<EntryLocation>> FindOnce();

  Core& core_;
  std::atomic<uint64_t> limit_{0};
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_UNNAMED_ENTRIES_H_
