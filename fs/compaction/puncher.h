// Puncher: gives the blocks of dead payloads in a store back to the host, where
// they lie. Nothing is moved: the chain of entries stays whole, and so does
// every byte of live payloads and of all metadata.
//
// It takes the same memory whatever is in the store, and goes through the tree
// several times if that is large (docs/rationale.md, "Compaction").

#ifndef VARVE_FS_COMPACTION_PUNCHER_H_
#define VARVE_FS_COMPACTION_PUNCHER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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
#include "fs/format/commit_record.h"
#include "fs/history/history_plan.h"
#include "fs/history/kept_trees.h"
#include "fs/log/core.h"
#include "fs/log/frozen_tree.h"
#include "fs/log/used_ranges.h"

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
    bool background = false;  // the disk is for others first
    // Keeps no history but snapshots, whatever the policy says.
    bool forget = false;
    // So many ranges in use, and dead entries, are in memory at a time.
    size_t most_ranges = UsedRanges::kMost;
    size_t most_dead = size_t{1} << 17;
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
  enum class Liveness {
    kNone,   // it is live, or may be
    kKnown,  // what is durable shows it dead, even to readers of entries only
    kUnvouched,  // recovery after a power cut might read it
    kNewest,     // it is the newest of its key; a tombstone must hide it first
  };

  // Takes a picture of what is in use, with everybody held up for a moment in
  // which only what has changed since, and what is open, is looked at.
  absl::Status FindUsed();
  // With everybody held up; see above. `committed` is up to where commits have
  // been looked at.
  absl::Status FindUsedLocked(uint64_t committed);
  // Notes what the commits in [begin, end) of the store name.
  absl::Status NoteCommitted(uint64_t begin, uint64_t end);
  void NoteUsed(const Extent& extent) {
    used_.push_back({extent.payload_offset(), extent.entry_metadata_offset()});
  }
  void NoteUsed(const EntryLocation& entry) {
    used_.push_back({entry.payload_offset, entry.metadata_offset()});
  }
  // Which records may be needed; all, if that cannot be told. checkpoint_mu is
  // held.
  void FindNeededRecords();
  // What past moments need.
  absl::Status FindHistory();
  // Commits that moments before the window are forgotten. commit_mu is held.
  absl::Status Forget();

  // Goes through the entries that lie in [used.begin(), end), and punches what
  // is dead.
  absl::Status PunchBetween(const UsedRanges& used, uint64_t end);
  Liveness DeathOf(const EntryView& entry,
                   const std::optional<CommitHeader>& record,
                   const UsedRanges& used) const;
  // Punches the ranges that are gathered, and forgets them.
  absl::Status PunchGathered();
  absl::Status PunchDead();
  absl::Status PunchAll(const std::vector<Range>& ranges);
  // Appends tombstones and syncs, so that dead entries stay dead, even after a
  // power cut.
  absl::Status TombstoneDead();

  const Context context_;
  uint64_t tail_ = 0;  // of the store that is looked at
  // Offset from which on records may be needed.
  uint64_t needed_from_ = 0;
  absl::flat_hash_set<uint64_t> segments_;  // in use, by number
  // The moments that are kept, and what they need.
  HistoryPlan history_;
  std::optional<KeptTrees> kept_;
  std::optional<KeptTrees::Needed> needed_;
  // What is in use: what this tree refers to, and besides it these entries,
  // whose number depends on what is in use and on the log alone.
  std::unique_ptr<FrozenTree> tree_;
  std::vector<Range> used_;
  // Up to where a commit says that the store is durable.
  uint64_t vouched_ = 0;
  bool readers_are_out_ = false;

  uint64_t total_ = 0;          // bytes that were found to be dead so far
  std::vector<Range> at_once_;  // can be punched as things are
  std::vector<Range>
      tombstoned_;  // can be punched once their keys have tombstones
  std::vector<EntryKeys> keys_;  // to be hidden for that
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_PUNCHER_H_
