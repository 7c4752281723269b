// Core: what every operation on a mounted tree works with — the store, the
// tree, and the locks on them.
//
// Lock order (an outer lock is taken before an inner one):
//
//   Core::checkpoint_mu            one checkpoint at a time
//     Core::relocation_mu          where in the store things lie
//     OpenInode::mu                content of one open file
//       Core::commit_mu            the right to plan and append a commit
//         the store's writer lock  (inside the engine)
//           Core::tree_mu          the tree
//   OpenFiles::mu_, OpenInode::stat_mu: leaves, nothing is taken below them
//
// All of them are in docs/architecture.md, "Locks".
//
// commit_mu is held across the append's system call; tree_mu never is across
// any. Whoever holds commit_mu knows that the tree stays as it is.

#ifndef VARVE_FS_LOG_CORE_H_
#define VARVE_FS_LOG_CORE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "engine/store/store.h"
#include "fs/format/identity.h"
#include "fs/log/log_tree.h"
#include "fs/tree/orphans.h"

namespace varve::fs {

// Opening indexes a few million entries in a second: of so many it takes some
// 15 ms, and less is not worth an image.
inline constexpr uint64_t kMinEntriesForImage = uint64_t{1} << 16;

// An inode as its users see it, but for content that is not committed.
struct LiveInode : InodeItem {
  bool is_orphan = false;  // it has no name, and is in no store

  uint32_t nlink() const { return is_orphan ? 0 : InodeItem::nlink(); }
};

struct Core {
  // Constant once the volume is open.
  std::unique_ptr<Store> store;
  Identity identity;
  // The index is written into the store once so many entries have been added.
  uint64_t min_entries_for_image = kMinEntriesForImage;

  // Ids for data entries. Also drawn from by streams under the store's writer
  // lock, hence atomic.
  std::atomic<uint64_t> next_data_id{1};

  // Shared by whoever works with places in the store that are not in the tree:
  // of what is dirty, or found in the tree a moment ago. A compaction holds it
  // alone, for a moment, when all places change.
  absl::Mutex relocation_mu ABSL_ACQUIRED_BEFORE(commit_mu);
  // How often they have changed: a place from before means nothing afterwards.
  uint64_t relocations ABSL_GUARDED_BY(relocation_mu) = 0;

  // Held while a checkpoint is written.
  absl::Mutex checkpoint_mu ABSL_ACQUIRED_BEFORE(relocation_mu);

  absl::Mutex commit_mu;
  uint64_t next_ino ABSL_GUARDED_BY(commit_mu) = kRootIno + 1;
  uint64_t last_sequence ABSL_GUARDED_BY(commit_mu) = 0;
  // Metadata offset of the newest checkpoint; 0 if there is none.
  uint64_t checkpoint ABSL_GUARDED_BY(commit_mu) = 0;
  // And of the one before it: with the commits since, it gives the same tree.
  uint64_t checkpoint_before ABSL_GUARDED_BY(commit_mu) = 0;
  // Bytes of commit records that are not in the newest one.
  uint64_t log_bytes ABSL_GUARDED_BY(commit_mu) = 0;
  // Whether the newest commit says that the store was closed.
  bool clean ABSL_GUARDED_BY(commit_mu) = false;

  absl::Mutex tree_mu ABSL_ACQUIRED_AFTER(commit_mu);
  // Shared with a checkpoint that is being written.
  std::shared_ptr<LogTree> log_tree ABSL_GUARDED_BY(tree_mu);
  // Says whether somebody has an inode open or the kernel knows of it; such a
  // one becomes an orphan when it is dropped. None is in use if this is null.
  std::function<bool(uint64_t ino)> is_in_use ABSL_GUARDED_BY(tree_mu);
  Orphans orphans ABSL_GUARDED_BY(tree_mu);
  // Those of them that have never had a name and may get one.
  absl::flat_hash_set<uint64_t> linkable ABSL_GUARDED_BY(tree_mu);
  // Access times, by inode, that are newer than those in the tree.
  absl::flat_hash_map<uint64_t, Timestamp> accessed ABSL_GUARDED_BY(tree_mu);

  // A new id for data. Once all are used up it is kMaxId again and again, and
  // no commit takes what was written under it.
  uint64_t NewDataId() {
    uint64_t id = next_data_id.load();
    while (id < kMaxId && !next_data_id.compare_exchange_weak(id, id + 1)) {
    }
    return id;
  }

  const TreeTotals& totals() const ABSL_SHARED_LOCKS_REQUIRED(tree_mu) {
    return log_tree->live->totals();
  }
  // The newest state of the tree. Valid until the tree changes.
  const TreeReader& reader() const ABSL_SHARED_LOCKS_REQUIRED(tree_mu) {
    return log_tree->live->reader();
  }
  // What reads the content and attributes of that inode.
  const TreeReader& ReaderOf(const LiveInode& inode) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu) {
    return inode.is_orphan ? orphans.reader() : reader();
  }
  // The inode, be it in the tree or an orphan. ENOENT if it is neither;
  // DATA_LOSS if a node of the tree is damaged.
  absl::StatusOr<LiveInode> GetInode(uint64_t ino) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu);
  // The same for one that a name in the tree has led to: DATA_LOSS if it is not
  // there.
  absl::StatusOr<LiveInode> GetInodeOf(const NameItem& name) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu);
  // The same as GetInode() for one with a name; ENOENT also for an orphan.
  absl::StatusOr<LiveInode> GetNamed(uint64_t ino) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu);

 private:
  // With the access time that is not in the tree yet.
  LiveInode Live(const InodeItem& item) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu);
};

// Calls `visit` with each extent of the tree and of the orphans that is not a
// hole. DATA_LOSS if a node of the tree is damaged.
absl::Status ForEachExtentInUse(const Core& core,
                                absl::FunctionRef<void(const Extent&)> visit)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_CORE_H_
