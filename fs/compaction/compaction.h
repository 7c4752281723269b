// What can be asked of a compaction, and what is told of it.

#ifndef VARVE_FS_COMPACTION_COMPACTION_H_
#define VARVE_FS_COMPACTION_COMPACTION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace varve::fs {

struct CompactionOptions {
  // Give the blocks of dead payloads back to the host, where they lie, instead
  // of copying what is live.
  bool punch = false;
  // Bytes to be copied a second; 0 is as fast as it goes.
  uint64_t bytes_per_second = 0;
  // Leave the disk to others while they need it (idle I/O priority).
  bool background = false;
  // Ends as CANCELLED if it takes longer. What has been punched stays so.
  absl::Duration longest = absl::InfiniteDuration();
};

// When a volume starts compactions by itself.
struct AutoCompaction {
  enum class Mode : uint8_t {
    kAuto,   // as docs/rationale.md says
    kNever,  // only when asked
    kRatio,  // copies once `dead_ratio` is reached
  };
  Mode mode = Mode::kAuto;
  // The part of the store that has to be dead for a full copy; between 0 and
  // 1, exclusive. For kRatio.
  double dead_ratio = 0;
};

enum class CompactionPhase : uint8_t {
  kNone,        // there has not been one
  kCopying,     // live files are being copied
  kCatchingUp,  // what was written meanwhile is being copied
  kSwitching,   // the new file takes the store's place
  kPunching,    // dead payloads are being given back
  kEnded,       // see CompactionProgress::result
};

struct CompactionProgress {
  CompactionPhase phase = CompactionPhase::kNone;
  bool punch = false;  // of which kind it is
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;  // an estimate, which grows with what is written
  uint64_t files_done = 0;
  uint64_t files_total = 0;
  uint64_t bytes_reclaimed = 0;  // on the disk; known when it has ended
  absl::Duration elapsed = absl::ZeroDuration();
  // How long nothing else could go on, at the longest.
  absl::Duration longest_stall = absl::ZeroDuration();
  absl::Status result;  // when it has ended

  bool running() const {
    return phase != CompactionPhase::kNone && phase != CompactionPhase::kEnded;
  }
};

// What became of an attempt to make room on a full disk.
struct PressureRelief {
  // Not to be tried before so much time has passed since it was begun.
  absl::Duration pause = absl::ZeroDuration();
  bool again = false;  // whether it has to be tried then in any case
};

struct StoreStatistics {
  uint64_t total_bytes = 0;       // length of the store
  uint64_t allocated_bytes = 0;   // of it, what the host has blocks for
  uint64_t live_bytes = 0;        // what a compacted store would have
  uint64_t dead_bytes = 0;        // the rest of what is allocated
  uint64_t files = 0;             // inodes of all types
  uint64_t commits = 0;           // since the store was made
  uint64_t extents = 0;           // of files in pieces
  uint64_t peak_extra_bytes = 0;  // free space that a compaction needs
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTION_H_
