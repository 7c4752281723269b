// CompactionPolicy: when a volume compacts by itself. What goes by the figures
// is decided here; to find them out, and to compact, is the volume's.
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
  // Below this much that is dead, nothing is done.
  static constexpr uint64_t kMinDeadBytes = uint64_t{64} << 20;

  explicit CompactionPolicy(const AutoCompaction& options)
      : options_(options) {}

  bool never() const { return options_.mode == AutoCompaction::Mode::kNever; }

  struct Due {
    bool copy = false;
    bool punch = false;
  };
  // `allocated` is what the store takes on the disk, `live` what of it is
  // needed.
  Due Find(uint64_t live, uint64_t allocated) const;

  // One of that kind has ended and leaves so much that seems dead. Whatever it
  // was good for, it is not repeated before there is more.
  void NoteEnd(bool punch, uint64_t dead);

  // Looking at the figures takes a part of the time only: the tree may be
  // large.
  bool MayLook(absl::Time now) const {
    return absl::ToUnixNanos(now) >= next_look_.load();
  }
  void NoteLook(absl::Time begin, absl::Time end);

  // Dead bytes that the last compaction has left.
  void SetDeadLeft(uint64_t bytes) { dead_left_.store(bytes); }
  uint64_t dead_left() const { return dead_left_.load(); }

  // How long writing, closing and syncing of files took so far.
  void AddWritingTime(int64_t nanoseconds) {
    writing_nanoseconds_.fetch_add(nanoseconds, std::memory_order_relaxed);
  }
  absl::Duration writing_time() const {
    return absl::Nanoseconds(writing_nanoseconds_.load());
  }

 private:
  const AutoCompaction options_;
  // Dead bytes below which none of the kind starts.
  std::atomic<uint64_t> least_for_copy_{kMinDeadBytes};
  std::atomic<uint64_t> least_for_punch_{kMinDeadBytes};
  std::atomic<int64_t> next_look_{0};  // nanoseconds since 1970
  std::atomic<uint64_t> dead_left_{0};
  std::atomic<int64_t> writing_nanoseconds_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTION_POLICY_H_
