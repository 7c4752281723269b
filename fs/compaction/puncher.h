// Puncher: punches holes in a store where dead payloads lie, which gives their
// blocks back to the host. It moves nothing, so live payloads, all metadata and
// the chain of entries stay intact. Not thread-safe.

#ifndef VARVE_FS_COMPACTION_PUNCHER_H_
#define VARVE_FS_COMPACTION_PUNCHER_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "engine/base/read_sections.h"
#include "engine/store/store.h"
#include "fs/compaction/compaction_monitor.h"
#include "fs/content/copy_gate.h"
#include "fs/content/open_files.h"
#include "fs/content/unnamed_entries.h"
#include "fs/log/core.h"

namespace varve::fs {

class Puncher {
 public:
  struct Context {
    Core& core;
    OpenFiles& open_files;
    CompactionMonitor& monitor;
    std::function<Timestamp()> now;
    UnnamedEntries& unnamed;
    CopyGate& copy_gate;
    // Requests that are being answered from the store's mapping.
    ReadSections& answers;
    std::function<absl::Status()> sync;
    bool background = false;  // as CompactionOptions::background
  };

  explicit Puncher(Context context) : context_(std::move(context)) {}

  // UNIMPLEMENTED or EOPNOTSUPP if the host cannot punch holes; EBUSY if the
  // store is open for reading. After a failure or a crash, holes punched so far
  // stay.
  absl::Status Run();

 private:
  struct Range {
    uint64_t begin;
    uint64_t end;
  };

  // Notes all entries in use, while other operations are blocked for a moment.
  absl::Status FindUsed();
  absl::Status FindDead();
  enum class Liveness {
    kNone,   // it is live, or may be
    kKnown,  // what is durable shows it dead, even to readers of entries only
    kUnvouched,  // recovery after a power cut might read it
    kNewest,     // it is the newest of its key; a tombstone must hide it first
  };
  Liveness DeathOf(const EntryView& entry) const;
  absl::Status PunchDead();
  absl::Status PunchAll(const std::vector<Range>& ranges);
  // Appends tombstones and syncs, so that dead entries stay dead, even after a
  // power cut.
  absl::Status TombstoneDead();

  const Context context_;
  uint64_t tail_ = 0;  // of the store when entries in use were noted
  // Metadata offset of the first record that may be needed.
  uint64_t needed_from_ = 0;
  absl::flat_hash_set<uint64_t> segments_;  // in use, by number
  absl::flat_hash_set<uint64_t> used_;      // payload offsets
  // Up to where the newest commit says that the store is durable.
  uint64_t vouched_ = 0;
  std::vector<Range> at_once_;  // can be punched after a sync
  std::vector<Range> buried_;   // can be punched after TombstoneDead()
  std::vector<uint64_t> keys_;  // that need a tombstone
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_PUNCHER_H_
