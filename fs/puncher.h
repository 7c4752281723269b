// Puncher: gives the blocks of dead payloads in a store back to the host, where
// they lie. Nothing is moved: the chain of entries stays whole, and so does
// every byte of live payloads and of all metadata.

#ifndef VARVE_FS_PUNCHER_H_
#define VARVE_FS_PUNCHER_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "engine/store.h"
#include "fs/compaction_monitor.h"
#include "fs/core.h"
#include "fs/open_files.h"

namespace varve::fs {

class Puncher {
 public:
  struct Context {
    Core& core;
    OpenFiles& open_files;
    CompactionMonitor& monitor;
    std::function<Timestamp()> now;
    // The entries without a name, as Volume::Unnamed().
    std::function<std::vector<EntryLocation>()> unnamed;
    std::function<absl::Status()> sync;
  };

  explicit Puncher(Context context) : context_(std::move(context)) {}

  // UNIMPLEMENTED or EOPNOTSUPP where the host cannot do that. A crash or a
  // failure leaves what has been punched so far as it is.
  absl::Status Run();

 private:
  struct Range {
    uint64_t begin;
    uint64_t end;
  };

  // Notes all entries in use, with everybody held up for a moment.
  absl::Status FindUsed();
  absl::Status FindDead();
  bool IsDead(const EntryView& entry);
  // Makes sure that what is dead stays so, through a power cut too.
  absl::Status BuryDead();

  const Context context_;
  uint64_t tail_ = 0;  // of the store that is looked at
  uint64_t checkpoint_ = 0;
  absl::flat_hash_set<uint64_t> used_;       // payload offsets
  absl::flat_hash_set<uint64_t> data_keys_;  // ours
  std::vector<Range> ranges_;                // to be punched
  std::vector<uint64_t> keys_;               // to be hidden before
};

}  // namespace varve::fs

#endif  // VARVE_FS_PUNCHER_H_
