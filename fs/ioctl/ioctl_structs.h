// Converts the options and progress of a compaction and the statistics to and
// from the structs of fs/ioctl/varve_ioctl.h. The mount answers with these
// structs, and the command uses them to show a compaction of its own in the
// same way.
//
// Thread-safe: free functions without state.

#ifndef VARVE_FS_IOCTL_IOCTL_STRUCTS_H_
#define VARVE_FS_IOCTL_IOCTL_STRUCTS_H_

#include "absl/status/statusor.h"
#include "fs/compaction/compaction.h"
#include "fs/ioctl/varve_ioctl.h"

namespace varve::fs {

// EINVAL if it asks for something that this version does not know.
absl::StatusOr<CompactionOptions> FromIoctl(
    const varve_compaction_start& request);

varve_compaction_start ToIoctl(const CompactionOptions& options);

varve_compaction_progress ToIoctl(const CompactionProgress& progress);

// The number of free bytes to report to programs; VARVE_SPACE_UNKNOWN for a
// disk that reports a total size of zero.
inline uint64_t AvailableBytes(uint64_t total, uint64_t available) {
  return total == 0 ? VARVE_SPACE_UNKNOWN : available;
}

// `available_bytes` is the free space of the store's disk.
varve_statistics ToIoctl(const StoreStatistics& statistics,
                         uint64_t available_bytes);

// Whether a compaction runs.
inline bool IsRunning(const varve_compaction_progress& progress) {
  return progress.phase != VARVE_PHASE_NONE &&
         progress.phase != VARVE_PHASE_ENDED;
}

}  // namespace varve::fs

#endif  // VARVE_FS_IOCTL_IOCTL_STRUCTS_H_
