// Compactor: replaces the store of a tree in use by one that holds just what is
// live, while everybody goes on (docs/rationale.md, "Compaction").
//
//   1. The tree is loaded a second time, as the store has it at this moment,
//      and all of its content is copied into a new store, with a checkpoint.
//   2. Commits that have come meanwhile are shipped to it, again and again,
//      until few are left.
//   3. With everybody held up for a moment, the last ones are shipped, the new
//      store is synced and takes the place of the old one, and all places in
//      memory are changed for the new ones.

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
#include "fs/compaction/log_shipper.h"
#include "fs/compaction/translation.h"
#include "fs/compaction/tree_copier.h"
#include "fs/content/content_reader.h"
#include "fs/content/copy_gate.h"
#include "fs/content/open_files.h"
#include "fs/content/unnamed_entries.h"
#include "fs/log/core.h"

namespace varve::fs {

// Whether the file at `path` is what a compaction of the tree with that
// identity has left behind when it was cut short. NOT_FOUND if there is none.
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
    bool background = false;  // the disk is for others first
  };

  explicit Compactor(Context context) : context_(std::move(context)) {}

  // Runs from beginning to end. On failure (CANCELLED among them) the store is
  // as it was, and nothing is left beside it.
  absl::Status Run();

 private:
  absl::Status LoadCopy();
  absl::Status CheckSpace();
  // That nothing is in the way where the new store is to be made.
  absl::Status CheckPlace();
  absl::Status CopyAll();
  absl::Status CatchUp();
  absl::Status Switch();
  // The last step. These need relocation_mu and, but for the second one,
  // commit_mu to be held alone, which they check when they run.
  absl::Status SwitchLocked();
  void MoveDirty();  // to where the new store has it
  void MoveOrphans();
  // Makes `tree` be the mount's, and be what that was.
  void ExchangeTree(std::shared_ptr<LogTree>& tree);
  // Entries of streams that are not committed yet.
  std::vector<EntryLocation> EntriesOfStreams() const;
  // Places that are used and in no commit: of dirty bytes and deleted files.
  std::vector<Extent> LoosePlaces() const;
  uint64_t NewDataId();

  const Context context_;
  Translation translation_;
  Core copy_;  // the tree as it is in the new store, and that store
  // What the mount's tree was; it may be large, and take time to be freed.
  std::shared_ptr<LogTree> old_tree_;
  std::unique_ptr<Store> source_;  // the old one, as it was at the beginning
  std::unique_ptr<LogShipper> shipper_;
  uint64_t unnamed_limit_ = 0;  // in the new store
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTOR_H_
