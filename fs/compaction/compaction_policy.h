// CompactionPolicy: decides when a volume compacts by itself, given how much of
// the store is live. CompactionRunner collects these figures and runs the
// compactions.
//
// Thread-safe.

#ifndef VARVE_FS_COMPACTION_COMPACTION_POLICY_H_
#define VARVE_FS_COMPACTION_COMPACTION_POLICY_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "fs/compaction/compaction.h"

namespace varve::fs {

class CompactionPolicy {
 public:
  // With fewer dead bytes than this, nothing is done.
  static constexpr uint64_t kMinDeadBytes = uint64_t{64} << 20;

  explicit CompactionPolicy(const AutoCompaction& options)
      : options_(options) {}

  bool never() const { return options_.mode == AutoCompaction::Mode::kNever; }

  struct Due {
    bool copy = false;
    bool punch = false;
  };
  // Which compactions are due. `allocated` is the number of bytes that the
  // store takes on the disk, `live` the number of those that are needed.
  Due Find(uint64_t live, uint64_t allocated) const;

  // Notes that a compaction of this kind has ended and left `dead` dead bytes.
  // However useful it was, it is not repeated before there are more.
  void NoteEnd(bool punch, uint64_t dead);

  // Whether enough time has passed since the figures were last collected.
  // Collecting them may take long, so it is limited to a fraction of the time.
  bool MayLook(absl::Time now) const {
    return absl::ToUnixNanos(now) >= next_look_.load();
  }
  void NoteLook(absl::Time begin, absl::Time end);

  // The dead bytes that the last compaction left.
  void SetDeadLeft(uint64_t bytes) { dead_left_.store(bytes); }
  uint64_t dead_left() const { return dead_left_.load(); }

  // Counts the time that writing, closing and syncing of files took.
  void AddWritingTime(int64_t nanoseconds) {
    writing_nanoseconds_.fetch_add(nanoseconds, std::memory_order_relaxed);
  }
  absl::Duration writing_time() const {
    return absl::Nanoseconds(writing_nanoseconds_.load());
  }

 private:
  const AutoCompaction options_;
  // The fewest dead bytes with which a compaction of each kind starts.
  std::atomic<uint64_t> least_for_copy_{kMinDeadBytes};
  std::atomic<uint64_t> least_for_punch_{kMinDeadBytes};
  std::atomic<int64_t> next_look_{0};  // nanoseconds since 1970
  std::atomic<uint64_t> dead_left_{0};
  std::atomic<int64_t> writing_nanoseconds_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTION_POLICY_H_
