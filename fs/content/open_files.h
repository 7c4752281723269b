// OpenFiles: the inodes that are open, and the state that all opens of one
// inode share.

#ifndef VARVE_FS_CONTENT_OPEN_FILES_H_
#define VARVE_FS_CONTENT_OPEN_FILES_H_

#include <fcntl.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "engine/store/store.h"
#include "fs/content/dirty_content.h"
#include "fs/format/timestamp.h"

namespace varve::fs {

// The state of an inode that is open at least once.
struct OpenInode {
  explicit OpenInode(uint64_t number) : ino(number) {}

  // What stat() shows while content is dirty.
  struct DirtyStat {
    bool dirty = false;
    uint64_t size = 0;
    uint64_t data_bytes = 0;  // that are not holes
    Timestamp mtime;
    Timestamp ctime;
  };

  // Joining fewer pieces than this does not pay.
  static constexpr uint64_t kManyPieces = 1024;

  const uint64_t ino;

  absl::Mutex mu;
  DirtyContent content ABSL_GUARDED_BY(mu);
  // Holds the spilled pieces of `content`.
  std::unique_ptr<Stream> stream ABSL_GUARDED_BY(mu);
  // Bytes of the file that are not holes; meaningful only when dirty.
  uint64_t data_bytes ABSL_GUARDED_BY(mu) = 0;
  // Why a write to a file that is being overwritten failed. Nothing is
  // committed until a write succeeds, because half of the new content must not
  // replace the old.
  absl::Status failed_write ABSL_GUARDED_BY(mu);
  // Whether content was committed since the inode was opened first.
  bool committed ABSL_GUARDED_BY(mu) = false;
  // The number of dirty pieces, or of committed extents, from which the next
  // attempt to join small ones is made.
  uint64_t join_pieces_at ABSL_GUARDED_BY(mu) = kManyPieces;
  uint64_t join_extents_at ABSL_GUARDED_BY(mu) = kManyPieces;
  // Counts how often dirty content was committed or dropped. A change that was
  // made in an earlier round is no longer dirty.
  std::atomic<uint64_t> round{1};
  // The round in which bytes last came from the kernel's cache after a program
  // had written them through a memory mapping. The kernel does not tell which
  // program.
  std::atomic<uint64_t> mapped_in{0};

  // A copy of content.dirty() that may be read without `mu`, to find out
  // quickly that there is nothing to do.
  std::atomic<bool> dirty{false};

  absl::Mutex stat_mu ABSL_ACQUIRED_AFTER(mu);
  DirtyStat stat ABSL_GUARDED_BY(stat_mu);

  uint32_t opens = 0;  // guarded by OpenFiles::mu_
  // How many of the opens are for writing.
  std::atomic<uint32_t> writers{0};
  // Whether the last close() failed, and nothing has been written since.
  std::atomic<bool> close_failed{false};

  DirtyStat GetStat() ABSL_LOCKS_EXCLUDED(stat_mu) {
    if (!dirty.load(std::memory_order_acquire)) return {};
    absl::MutexLock lock(&stat_mu);
    return stat;
  }
};

// One open of a file.
struct Handle {
  std::shared_ptr<OpenInode> inode;
  int flags = 0;  // as of open(2)
  // The round of the inode in which content was last changed through this
  // handle.
  mutable std::atomic<uint64_t> wrote_in{0};

  bool writes() const { return (flags & O_ACCMODE) != O_RDONLY; }
  // Must be called after each change through this handle.
  void NoteChange() const { wrote_in.store(inode->round.load()); }
  // Whether changes through this handle, or through a memory mapping of the
  // file, are still dirty. Changes through other handles do not count: their
  // writers decide when they are complete.
  bool HasChanges() const {
    if (!writes()) return false;
    const uint64_t round = inode->round.load();
    return wrote_in.load() == round || inode->mapped_in.load() == round;
  }
};

// Thread-safe.
class OpenFiles {
 public:
  // Counts an open of the inode, and returns its state, which is new if the
  // inode was not open.
  std::shared_ptr<OpenInode> Open(uint64_t ino) {
    absl::MutexLock lock(&mu_);
    std::shared_ptr<OpenInode>& open = inodes_[ino];
    if (open == nullptr) open = std::make_shared<OpenInode>(ino);
    ++open->opens;
    return open;
  }

  size_t count() {
    absl::MutexLock lock(&mu_);
    return inodes_.size();
  }

  // Ends one open; returns whether it was the last.
  bool Close(OpenInode& open) {
    absl::MutexLock lock(&mu_);
    if (--open.opens > 0) return false;
    inodes_.erase(open.ino);
    return true;
  }

  // Whether this is the only open of the inode.
  bool IsLast(const OpenInode& open) const {
    absl::MutexLock lock(&mu_);
    return open.opens == 1;
  }

  // The state of an open inode; null if it is not open.
  std::shared_ptr<OpenInode> Find(uint64_t ino) const {
    absl::ReaderMutexLock lock(&mu_);
    const auto it = inodes_.find(ino);
    return it == inodes_.end() ? nullptr : it->second;
  }

  std::vector<std::shared_ptr<OpenInode>> All() const {
    absl::ReaderMutexLock lock(&mu_);
    std::vector<std::shared_ptr<OpenInode>> all;
    for (const auto& [ino, open] : inodes_) all.push_back(open);
    return all;
  }

 private:
  mutable absl::Mutex mu_;
  absl::flat_hash_map<uint64_t, std::shared_ptr<OpenInode>> inodes_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_OPEN_FILES_H_
