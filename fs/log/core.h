// Core: what every operation on a mounted tree works with — the store, the
// tree in memory, and the locks on them.
//
// Lock order (an outer lock is taken before an inner one):
//
//   Core::checkpoint_mu            one checkpoint at a time
//     Core::relocation_mu          where in the store things lie
//     OpenInode::mu                content of one open file
//       Core::commit_mu            the right to plan and append a commit
//         the store's writer lock  (inside the engine)
//           Core::tree_mu          the tree in memory
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
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "engine/store/store.h"
#include "fs/format/identity.h"
#include "fs/log/log_tree.h"
#include "fs/tree/tree.h"

namespace varve::fs {

// Opening indexes a few million entries in a second: of so many it takes some
// 15 ms, and less is not worth an image.
inline constexpr uint64_t kMinEntriesForImage = uint64_t{1} << 16;

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
  // What was wrong with nodes of the tree, so that it was made anew from the
  // one in memory; whoever reports it sets it back.
  absl::Status node_damage ABSL_GUARDED_BY(commit_mu);
  // Bytes of commit records that are not in the newest one.
  uint64_t log_bytes ABSL_GUARDED_BY(commit_mu) = 0;
  // Whether the newest commit says that the store was closed.
  bool clean ABSL_GUARDED_BY(commit_mu) = false;

  absl::Mutex tree_mu ABSL_ACQUIRED_AFTER(commit_mu);
  Tree tree ABSL_GUARDED_BY(tree_mu);
  // The same tree as it lies in the log; null where it is only read. Shared
  // with a checkpoint that is being written.
  std::shared_ptr<LogTree> log_tree ABSL_GUARDED_BY(tree_mu);
  // Inodes without a name that somebody still has open or the kernel knows of.
  absl::flat_hash_map<uint64_t, std::unique_ptr<Inode>> orphans
      ABSL_GUARDED_BY(tree_mu);

  // Those of them that have never had a name and may get one.
  absl::flat_hash_set<uint64_t> linkable ABSL_GUARDED_BY(tree_mu);
  // Inodes whose access time is newer in memory than in the store.
  absl::flat_hash_set<uint64_t> accessed ABSL_GUARDED_BY(tree_mu);

  // A new id for data, under whose key there is nothing yet: somebody who knows
  // the secret may have given a file a path with the hash of that key. Once all
  // are used up it is kMaxId again and again, and no commit takes what was
  // written under it. Looks into the store, and may be called wherever that is
  // allowed.
  uint64_t NewDataId() {
    while (true) {
      uint64_t id = next_data_id.load();
      while (id < kMaxId && !next_data_id.compare_exchange_weak(id, id + 1)) {
      }
      if (id >= kMaxId ||
          !store->Exists(EntryKey::OfHash(identity.DataKeyHash(id)))) {
        return id;
      }
    }
  }

  // The inode, be it in the tree or an orphan; null if it is neither.
  const Inode* FindInode(uint64_t ino) const
      ABSL_SHARED_LOCKS_REQUIRED(tree_mu) {
    if (const Inode* inode = tree.Find(ino)) return inode;
    const auto it = orphans.find(ino);
    return it == orphans.end() ? nullptr : it->second.get();
  }
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_CORE_H_
