// Compactor: replaces the store of a tree in use by a new one that holds only
// live entries, while other operations go on (docs/rationale.md, "Compaction").
// Not thread-safe.
//
//   1. Loads the oldest tree that is to be kept, or the newest if there is no
//      other, and copies all of its content into a new store, with a
//      checkpoint. Copies each further moment that is kept, up to the window in
//      which all are (history/history_plan.h).
//   2. Ships the commits since, and those that have come meanwhile, to the new
//      store, again and again, until few are left.
//   3. While all other operations are blocked for a moment: ships the last
//      commits, syncs the new store, lets it take the place of the old one, and
//      changes all offsets in memory to the new ones.

#ifndef VARVE_FS_COMPACTION_COMPACTOR_H_
#define VARVE_FS_COMPACTION_COMPACTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/compaction/compaction_monitor.h"
#include "fs/compaction/history_copier.h"
#include "fs/compaction/log_shipper.h"
#include "fs/compaction/translation.h"
#include "fs/compaction/tree_copier.h"
#include "fs/content/content_reader.h"
#include "fs/content/copy_gate.h"
#include "fs/content/open_files.h"
#include "fs/content/unnamed_entries.h"
#include "fs/history/history_plan.h"
#include "fs/log/core.h"
#include "fs/log/past_tree.h"

namespace varve::fs {

// Whether the file at `path` was left behind by an interrupted compaction of
// the tree with this identity. NOT_FOUND if there is no file.
absl::StatusOr<bool> IsLeftover(FileSystem& file_system,
                                const std::string& path,
                                const Identity& identity);

class Compactor {
 public:
  struct Context {
    Core& core;
    OpenFiles& open_files;
    ContentReader& reader;
    CompactionMonitor& monitor;
    FileSystem* file_system;
    std::function<Timestamp()> now;
    UnnamedEntries& unnamed;
    CopyGate& copy_gate;
    bool background = false;  // as CompactionOptions::background
    bool forget = false;      // as CompactionOptions::forget
  };

  explicit Compactor(Context context)
      : context_(std::move(context)),
        translation_(context_.file_system,
                     context_.core.store->replacement_path() + ".places") {}

  // Runs the whole compaction. If it fails or is cancelled, the store is as it
  // was, and no file is left beside it.
  absl::Status Run();

 private:
  absl::Status LoadCopy();
  absl::Status CheckSpace();
  // Fails if a file that is not ours has the name of the new store.
  absl::Status CheckReplacementPath();
  // Decides which moments are copied, and begins with the tree of the first.
  absl::Status PlanMoments();
  // Whether there is nothing to forget, so that a copy would be as large.
  bool KeepsEverything() const {
    return history_.begin == 0 && !history_.oldest.has_value();
  }
  absl::Status CopyAll();
  // Copies the moments behind the first one.
  absl::Status CopyMoments();
  // Ships the window's commits up to where the compaction began.
  absl::Status ShipWindow();
  absl::Status CatchUp();
  absl::Status Switch();
  // The last step. These need relocation_mu and, but for the second one,
  // commit_mu to be held alone, which they check when they run.
  absl::Status SwitchLocked(absl::Span<const Extent> dirty);
  void MoveDirty();  // to where the new store has it
  void MoveOrphans();
  // Exchanges the mount's tree and `tree`.
  void ExchangeTree(std::shared_ptr<LogTree>& tree);
  // Entries of streams that no commit names yet.
  std::vector<EntryLocation> EntriesOfStreams() const;
  // Places that are used and in no commit: of deleted files, and of dirty
  // bytes; in streams, too, or only elsewhere.
  std::vector<Extent> ExtentsOfOrphans() const;
  std::vector<Extent> ExtentsOfDirty() const;
  std::vector<Extent> LooseExtents() const;
  // Notes where these lie in the new store, so that nothing can fail any more
  // when they are moved.
  absl::Status FindNewExtents(absl::Span<const Extent> extents);
  std::vector<Extent> NewExtentsOf(const Extent& extent) const;
  uint64_t NewDataId();

  const Context context_;
  Translation translation_;
  Translation loose_;  // the same of what is in use and in no commit
  Core copy_;          // the tree as it is in the new store, and that store
  // What the mount's tree was; it may be large, and take time to be freed.
  std::shared_ptr<LogTree> old_tree_;
  std::unique_ptr<Store> source_;  // the old store, as it was at the beginning
  HistoryPlan history_;
  std::vector<MomentLocation> moments_;  // to be copied, in their order
  // The tree of the first one; null if only the newest tree is copied.
  std::unique_ptr<PastTree> first_;
  uint64_t ship_from_ = 0;  // offset in the old store
  // Nothing of the past is copied, as the tree itself can say. Otherwise, a
  // commit says from where on it is.
  bool forgets_at_once_ = false;
  std::unique_ptr<LogShipper> shipper_;
  uint64_t unnamed_limit_ = 0;  // in the new store
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTOR_H_
