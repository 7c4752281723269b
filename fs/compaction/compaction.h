// Options, progress and results of compactions. Plain structures without thread
// rules of their own.

#ifndef VARVE_FS_COMPACTION_COMPACTION_H_
#define VARVE_FS_COMPACTION_COMPACTION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace varve::fs {

struct CompactionOptions {
  // Punch holes where dead payloads lie, which gives their blocks back to the
  // host, instead of copying live entries to a new file.
  bool punch = false;
  // Keep no past moments but snapshots, whatever the policy says.
  bool forget = false;
  // The most bytes to copy per second; 0 for no limit.
  uint64_t bytes_per_second = 0;
  // Use the disk only while nobody else does (idle I/O priority).
  bool background = false;
  // A compaction that takes longer ends as CANCELLED. Holes punched so far
  // stay.
  absl::Duration longest = absl::InfiniteDuration();
};

// When a volume starts compactions without being asked.
struct AutoCompaction {
  enum class Mode : uint8_t {
    kAuto,   // as docs/rationale.md, "Compaction", says
    kNever,  // only when asked
    kRatio,  // copies once `dead_ratio` is reached
  };
  Mode mode = Mode::kAuto;
  // The fraction of the store that must be dead for a copy; between 0 and 1,
  // exclusive. For kRatio.
  double dead_ratio = 0;
};

enum class CompactionPhase : uint8_t {
  kNone,        // there has not been a compaction
  kCopying,     // live files are being copied
  kCatchingUp,  // what was written meanwhile is being copied
  kSwitching,   // the new file takes the store's place
  kPunching,    // dead payloads are being given back
  kEnded,       // see CompactionProgress::result
};

struct CompactionProgress {
  CompactionPhase phase = CompactionPhase::kNone;
  bool punch = false;  // whether it punches or copies
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;  // an estimate; grows as programs write
  uint64_t files_done = 0;
  uint64_t files_total = 0;
  uint64_t bytes_reclaimed = 0;  // on the disk; 0 until it has ended
  absl::Duration elapsed = absl::ZeroDuration();
  // The longest time for which other operations were blocked.
  absl::Duration longest_stall = absl::ZeroDuration();
  absl::Status result;  // once it has ended

  bool running() const {
    return phase != CompactionPhase::kNone && phase != CompactionPhase::kEnded;
  }
};

// The result of an attempt to make room on a full disk.
struct PressureResponse {
  // The least time from the beginning of this attempt to that of the next.
  absl::Duration pause = absl::ZeroDuration();
  bool again = false;  // whether the next attempt must be made in any case
};

struct StoreStatistics {
  uint64_t total_bytes = 0;      // length of the store
  uint64_t allocated_bytes = 0;  // what the host has allocated for it
  uint64_t live_bytes = 0;       // length that a compacted store would have
  uint64_t dead_bytes = 0;       // the rest of allocated_bytes
  uint64_t history_bytes = 0;    // of these, what the policy leaves to the past
  uint64_t files = 0;            // inodes of all types
  uint64_t commits = 0;          // since the store was made
  uint64_t extents = 0;          // of files that are not one whole entry
  uint64_t peak_extra_bytes = 0;  // free space that a compaction needs
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTION_H_
