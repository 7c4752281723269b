// HistoryCopier: copies past moments into a new store, one after the other. It
// begins with a copy of the first one's tree. For each further one it copies
// what that has and the one before has not, and writes a checkpoint: so what
// moments share, they still share, and the cost follows what has changed.
//
// Not thread-safe.

#ifndef VARVE_FS_COMPACTION_HISTORY_COPIER_H_
#define VARVE_FS_COMPACTION_HISTORY_COPIER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/btree/tree_diff.h"
#include "fs/compaction/compaction_monitor.h"
#include "fs/compaction/pinned_source.h"
#include "fs/compaction/translation.h"
#include "fs/format/timestamp.h"
#include "fs/log/core.h"
#include "fs/log/past_tree.h"

namespace varve::fs {

class HistoryCopier {
 public:
  struct Context {
    Store& source;  // the old store
    Core& copy;     // the new one, and the tree as it is there
    Translation& translation;
    CompactionMonitor& monitor;
    std::function<uint64_t()> new_data_id;
    std::function<Timestamp()> now;
  };

  // The tree of `copy` is a copy of `first`, with nothing changed since its
  // checkpoint.
  HistoryCopier(Context context, std::unique_ptr<PastTree> first)
      : context_(std::move(context)),
        pinned_(context_.source),
        before_(std::move(first)) {}

  // Makes the tree of the copy that of `next`, a later moment, and writes a
  // checkpoint of it. Returns where the moment lies in the new store. DATA_LOSS
  // if what has to be copied is damaged: damaged bytes must not get a new,
  // valid checksum.
  absl::StatusOr<MomentLocation> Copy(std::unique_ptr<PastTree> next);

 private:
  // An inode of which the two moments differ, by more than its names.
  struct Difference {
    uint64_t ino = 0;
    std::optional<InodeItem> before;
    std::optional<InodeItem> after;
    bool content_differs = false;
  };

  // Finds what differs: the inodes, and the other items, as they are to be.
  struct Differences {
    std::vector<Difference> inodes;
    Overlay items;
  };
  absl::StatusOr<Differences> FindDifferences() const;
  absl::StatusOr<Difference> DifferenceOf(uint64_t ino,
                                          bool extents_differ) const;

  // Copies content that is not in the copy yet, and hides keys whose newest
  // entry is no longer the content of a file.
  absl::Status CopyContent(const std::vector<Difference>& inodes);
  absl::Status Gather(const Difference& inode, std::vector<Extent>* unknown,
                      std::vector<EntryKeys>* hidden);
  absl::Status CopyExtents(const std::vector<Extent>& extents);
  absl::Status HideKeys(const std::vector<EntryKeys>& keys);

  // Puts the inode as it is in the copy then, and changes what is counted.
  absl::Status MakeInode(const Difference& inode, Overlay* items,
                         TreeTotals* totals);
  // What the next tree has, but for what has been copied of its content so far.
  TreeTotals FirstTotals();
  absl::StatusOr<std::optional<InodeItem>> CopyOf(uint64_t ino);

  const Context context_;
  PinnedSource pinned_;
  std::unique_ptr<PastTree> before_;
  std::unique_ptr<PastTree> next_;
};

// Where the newest moment of `core` lies, which its newest checkpoint has.
absl::StatusOr<MomentLocation> LocationOfCheckpoint(Core& core)
    ABSL_LOCKS_EXCLUDED(core.commit_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_HISTORY_COPIER_H_
