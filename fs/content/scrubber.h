// Scrubber: compares large entries with their checksums in the background, so
// that damage is known before somebody needs what is damaged: a part of a large
// file may not be read for years.
//
// Thread-safe.

#ifndef VARVE_FS_CONTENT_SCRUBBER_H_
#define VARVE_FS_CONTENT_SCRUBBER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fs/base/wakeup.h"
#include "fs/content/content_reader.h"
#include "fs/log/core.h"

namespace varve::fs {

class Scrubber {
 public:
  struct Progress {
    uint64_t bytes = 0;    // compared so far
    uint64_t damaged = 0;  // entries that do not match
  };

  // Calls `on_damage` with the inode and the damage.
  Scrubber(Core& core, ContentReader& reader,
           std::function<void(uint64_t ino, const absl::Status&)> on_damage)
      : core_(core), reader_(reader), on_damage_(std::move(on_damage)) {}
  ~Scrubber() { Stop(); }

  // Starts the thread, which checks all files for the first time after `delay`.
  void Start(absl::Duration delay);
  // Stops the thread, even in the middle of an entry, and waits for its end.
  void Stop();
  Progress progress() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run(Wakeup::Clock::time_point first_sweep) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes the next file from the queue. False if the queue is empty, or the
  // thread must end.
  bool TakeNext(uint64_t& ino) ABSL_LOCKS_EXCLUDED(mu_);
  void ScrubFile(uint64_t ino) ABSL_LOCKS_EXCLUDED(mu_);
  // What was found out about an entry.
  struct Finding {
    bool matches = true;           // also true if the check is interrupted
    std::vector<uint64_t> blocks;  // the damaged ones, if it has block sums
  };
  // `sums` are those of the entry, or null.
  Finding Compare(const EntryView& entry, const BlockSums* sums)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The large entries of the file that were not checked yet.
  std::vector<Extent> LargeEntriesOf(uint64_t ino);
  std::vector<uint64_t> LargeFiles();

  Core& core_;
  ContentReader& reader_;
  const std::function<void(uint64_t, const absl::Status&)> on_damage_;
  std::thread thread_;

  mutable absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<uint64_t> waiting_ ABSL_GUARDED_BY(mu_);  // inodes
  Wakeup wakeup_;
  Progress progress_ ABSL_GUARDED_BY(mu_);
  // Payload offset and checksum of the entries that were checked. Only for the
  // thread.
  absl::flat_hash_set<std::pair<uint64_t, uint32_t>> done_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_SCRUBBER_H_
