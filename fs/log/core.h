// Core: the state that all operations on a mounted tree share: the store, the
// tree, and their locks.
//
// Lock order (an outer lock is taken before an inner one):
//
//   Core::checkpoint_mu            one checkpoint at a time
//     Core::relocation_mu          offsets in the store
//       OpenInode::mu              content of one open file
//         Core::commit_mu          the right to plan and append a commit
//           the store's writer lock  (inside the engine)
//             Core::tree_mu        the tree
//   OpenFiles::mu_, OpenInode::stat_mu: leaves, nothing is taken below them
//
// docs/architecture.md, "Locks", has all locks.
//
// A thread holds commit_mu across the append's system call, but never holds
// tree_mu across one. While a thread holds commit_mu, the tree does not change.

#ifndef VARVE_FS_LOG_CORE_H_
#define VARVE_FS_LOG_CORE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

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
#include "fs/log/root_pins.h"
#include "fs/log/tree_root.h"
#include "fs/tree/orphans.h"

namespace varve::fs {

// Opening a store indexes a few million entries in a second. So many take some
// 15 ms; fewer are not worth an image.
inline constexpr uint64_t kMinEntriesForImage = uint64_t{1} << 16;

// An inode as users of the mount see it, except for content that is not
// committed.
struct LiveInode : InodeItem {
  bool is_orphan = false;  // it has no name, and is only in memory

  uint32_t nlink() const { return is_orphan ? 0 : InodeItem::nlink(); }
};

struct Core {
  // Constant once the volume is open.
  std::unique_ptr<Store> store;
  Identity identity;
  // An image of the index is due only after so many new entries.
  uint64_t min_entries_for_image = kMinEntriesForImage;

  // The next id for a data entry. Atomic, because streams draw ids under the
  // store's writer lock.
  std::atomic<uint64_t> next_data_id{1};

  // Held shared by code that uses offsets in the store that are not in the
  // tree: those of dirty content, or those read from the tree a moment ago. A
  // compaction holds it exclusively for the moment in which all offsets change.
  absl::Mutex relocation_mu ABSL_ACQUIRED_BEFORE(commit_mu);
  // How often offsets have changed. An offset from before a change is
  // meaningless after it.
  uint64_t relocations ABSL_GUARDED_BY(relocation_mu) = 0;

  // Held while a checkpoint is written.
  absl::Mutex checkpoint_mu ABSL_ACQUIRED_BEFORE(relocation_mu);

  absl::Mutex commit_mu;
  uint64_t next_ino ABSL_GUARDED_BY(commit_mu) = kRootIno + 1;
  uint64_t last_sequence ABSL_GUARDED_BY(commit_mu) = 0;
  // Metadata offset of the newest checkpoint; 0 if there is none.
  uint64_t checkpoint ABSL_GUARDED_BY(commit_mu) = 0;
  // Metadata offset of the checkpoint before it, which gives the same tree
  // together with the commits since.
  uint64_t checkpoint_before ABSL_GUARDED_BY(commit_mu) = 0;
  // Bytes of commit records that the newest checkpoint does not include.
  uint64_t log_bytes ABSL_GUARDED_BY(commit_mu) = 0;
  // The latest time of all commits.
  Timestamp latest_time ABSL_GUARDED_BY(commit_mu) = Timestamp::FromPacked(0);
  // Where the moments lie that have a name, in the order of their numbers.
  std::vector<MomentLocation> snapshots ABSL_GUARDED_BY(commit_mu);
  // How many commits of this session have named moments, let go of some, or
  // purged something from them. Code that remembers a moment checks it again
  // after each.
  std::atomic<uint64_t> moment_changes{0};
  // Whether the newest commit says that the store was closed.
  bool clean ABSL_GUARDED_BY(commit_mu) = false;

  absl::Mutex tree_mu ABSL_ACQUIRED_AFTER(commit_mu);
  // Owned together with a checkpoint that is being written.
  std::shared_ptr<LogTree> log_tree ABSL_GUARDED_BY(tree_mu);
  // Nodes that are being read without a lock.
  RootPins root_pins;
  // Whether an inode is in use, that is, open or known to the kernel. An inode
  // in use becomes an orphan when it is dropped. If this is null, no inode is
  // in use.
  std::function<bool(uint64_t ino)> is_in_use ABSL_GUARDED_BY(tree_mu);
  Orphans orphans ABSL_GUARDED_BY(tree_mu);
  // The orphans that never had a name and may get one (O_TMPFILE).
  absl::flat_hash_set<uint64_t> linkable ABSL_GUARDED_BY(tree_mu);
  // Access times that are newer than those in the tree, by inode number.
  absl::flat_hash_map<uint64_t, Timestamp> accessed ABSL_GUARDED_BY(tree_mu);

  // Draws an id for data. Once all ids are used up, returns kMaxId each time,
  // and every commit of data fails.
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
  // The reader for the inode's content and extended attributes.
  const TreeReader& ReaderOf(const LiveInode& inode) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu) {
    return inode.is_orphan ? orphans.reader() : reader();
  }
  // The inode, whether it is in the tree or an orphan. ENOENT if it is neither;
  // DATA_LOSS if a node of the tree is damaged.
  absl::StatusOr<LiveInode> GetInode(uint64_t ino) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu);
  // The inode that a name in the tree leads to; DATA_LOSS if it does not exist.
  absl::StatusOr<LiveInode> GetInodeOf(const NameItem& name) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu);
  // Like GetInode(), but ENOENT for an orphan.
  absl::StatusOr<LiveInode> GetNamed(uint64_t ino) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu);

 private:
  // Adds the access time that is not in the tree yet.
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
