// Puncher: gives the blocks of dead payloads in a store back to the host, where
// they lie. Nothing is moved: the chain of entries stays whole, and so does
// every byte of live payloads and of all metadata.

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
    // Requests that are being answered from the store's map.
    ReadSections& answers;
    std::function<absl::Status()> sync;
    bool background = false;  // the disk is for others first
  };

  explicit Puncher(Context context) : context_(std::move(context)) {}

  // UNIMPLEMENTED or EOPNOTSUPP where the host cannot do that, EBUSY if
  // somebody has the store open for reading. A crash or a failure leaves what
  // has been punched so far as it is.
  absl::Status Run();

 private:
  struct Range {
    uint64_t begin;
    uint64_t end;
  };

  // Notes all entries in use, with everybody held up for a moment.
  absl::Status FindUsed();
  absl::Status FindDead();
  enum class Liveness {
    kNone,       // it lives, or might
    kKnown,      // what is durable says so to readers of the entry level
    kUnvouched,  // recovery would read it again
    kNewest,     // it is the newest of its key, and has to be hidden first
  };
  Liveness DeathOf(const EntryView& entry) const;
  absl::Status PunchDead();
  absl::Status PunchAll(const std::vector<Range>& ranges);
  // Makes sure that what is dead stays so, through a power cut too.
  absl::Status TombstoneDead();

  const Context context_;
  uint64_t tail_ = 0;  // of the store that is looked at
  // Metadata offset of the first record that may be needed.
  uint64_t needed_from_ = 0;
  absl::flat_hash_set<uint64_t> segments_;  // in use, by number
  absl::flat_hash_set<uint64_t> used_;      // payload offsets
  // Up to where a commit says that the store is durable.
  uint64_t vouched_ = 0;
  std::vector<Range> at_once_;  // can be punched as things are
  std::vector<Range> buried_;   // can be punched once they are buried
  std::vector<uint64_t> keys_;  // to be hidden for that
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_PUNCHER_H_
