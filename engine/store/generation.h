// Generation: one file that serves as the store, with its mapping, its index
// and its tail. Compaction replaces the whole generation; users of the old one
// keep it alive.
//
// Any thread may call the methods in the first part, and only the writer those
// marked "For the writer". The writer is the thread that holds the store's
// writer lock.

#ifndef VARVE_ENGINE_STORE_GENERATION_H_
#define VARVE_ENGINE_STORE_GENERATION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "engine/entry/entry.h"
#include "engine/index/index.h"
#include "engine/io/file.h"

namespace varve {

class ChainIndexer;

// One change of the index: the new offset of a key, or Index::kDeleted.
struct IndexUpdate {
  uint64_t key_hash = 0;
  uint64_t metadata_offset = 0;
};

// Maps `file` over at least `needed` bytes, and over far more if there is
// enough address space.
absl::StatusOr<std::shared_ptr<const Mapping>> MapGenerously(File& file,
                                                             uint64_t needed);

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // A moment of the index, unaffected by later writes. While one lives, the
  // writer notes the offsets that it replaces.
  class Moment {
   public:
    explicit Moment(const Generation& generation);
    ~Moment();
    Moment(const Moment&) = delete;
    Moment& operator=(const Moment&) = delete;

    uint64_t tail() const { return tail_; }
    // Whether the metadata at this offset was the newest of its key at the
    // moment.
    bool WasLive(uint64_t key_hash, uint64_t metadata_offset) const;

   private:
    friend class Generation;
    const Generation& generation_;
    uint64_t tail_ = 0;
    std::atomic<bool> has_replaced_{false};
    mutable absl::Mutex mutex_;  // taken after publish_mutex_
    // Offsets as they were at the moment, of keys that changed since.
    absl::flat_hash_map<uint64_t, uint64_t> replaced_ ABSL_GUARDED_BY(mutex_);
  };

  Generation(std::unique_ptr<File> file,
             std::shared_ptr<const Mapping> mapping);

  File& file() const { return *file_; }
  // Fills the index first if that was deferred, which takes time in proportion
  // to the number of entries since the newest image of it. See BuildIndex().
  const Index& index() const {
    if (!has_index()) BuildIndex();
    return index_;
  }
  bool has_index() const { return has_index_.load(std::memory_order_acquire); }

  // The end of what is committed.
  uint64_t tail() const { return tail_.load(std::memory_order_acquire); }
  // The end of what can be read: the tail, or beyond it that of a stream.
  uint64_t written_end() const {
    return written_end_.load(std::memory_order_acquire);
  }

  // The offset from which on bytes are lost, because another program has
  // truncated the file. Beyond the tail as long as nothing is known to be lost.
  uint64_t lost_from() const {
    return lost_from_.load(std::memory_order_relaxed);
  }
  void NoteLostFrom(uint64_t offset) const;
  // DATA_LOSS (EIO) if bytes below `end` are lost.
  absl::Status CheckNotLost(uint64_t end) const;

  // The mapping in use. Load the offset or end first and the mapping after it,
  // so that the mapping covers them. The reference is valid as long as the
  // generation.
  const std::shared_ptr<const Mapping>& mapping() const {
    return *mapping_.load(std::memory_order_acquire);
  }

  // The metadata offset of the newest entry of the key; nothing if it is
  // absent.
  std::optional<uint64_t> Find(uint64_t key_hash) const {
    return index().Find(key_hash);
  }
  // DATA_LOSS (EIO) if a part of the index image cannot be read any more, or if
  // the index could not be filled, so that a key may only seem to be absent.
  // RESOURCE_EXHAUSTED if there was no memory for that.
  absl::Status CheckIndexWhole() const;
  // Also checks that the image is as it was when the store was opened, for
  // which it reads all of it. For a caller that is about to destroy what the
  // index does not know. If this returns OK, all answers from before the call
  // were right.
  absl::Status CheckIndexIntact() const;
  absl::StatusOr<EntryView> ViewOf(uint64_t key_hash,
                                   uint64_t metadata_offset) const;
  // The entry that ends at `end`, which is at most the tail; DATA_LOSS if none
  // can end there.
  absl::StatusOr<EntryView> EntryEndingAt(uint64_t end) const;

  // Does the same as Find() for each key, for all at the same moment.
  void FindAll(absl::Span<const uint64_t> key_hashes,
               absl::Span<uint64_t> offsets) const;

  // The metadata offsets of all live entries, as of one moment, in no order.
  std::vector<uint64_t> LiveOffsets() const;

  // The metadata offset of the newest image of the index, 0 if none is known,
  // and the number of changes of the index since then.
  uint64_t newest_image() const {
    return newest_image_.load(std::memory_order_relaxed);
  }
  uint64_t changes_since_image() const {
    return changes_since_image_.load(std::memory_order_relaxed);
  }

  // --- For the writer ------------------------------------------------------

  void NoteImage(uint64_t metadata_offset, uint64_t changes_since) {
    newest_image_.store(metadata_offset, std::memory_order_relaxed);
    changes_since_image_.store(changes_since, std::memory_order_relaxed);
  }

  // For filling the index before any reader uses it.
  Index& mutable_index() { return index_; }
  // Leaves the index empty until somebody asks it. There must have been no
  // reader yet.
  void DeferIndex(std::optional<uint64_t> image_key) {
    image_key_ = image_key;
    has_index_.store(false, std::memory_order_relaxed);
  }

  // Makes the mapping cover `end`.
  absl::Status EnsureMapped(uint64_t end);
  // Makes room in the index, so that Publish() of that many updates cannot
  // fail.
  absl::Status Reserve(size_t updates);

  void set_written_end(uint64_t end) {
    written_end_.store(end, std::memory_order_release);
  }
  // Makes written bytes take effect: first in the index, then in the tail.
  void Publish(absl::Span<const IndexUpdate> updates, uint64_t tail);

 private:
  // Fills an index that was deferred. What is published meanwhile is added as
  // well. Any number of threads may call this; those that come too late wait.
  void BuildIndex() const;
  absl::Status FillIndex(ChainIndexer& indexer) const;

  // Calls `look`, perhaps several times. During the last call nothing is
  // published.
  template <typename Look>
  void AtOneMoment(const Look& look) const;
  void Apply(const IndexUpdate& update)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(publish_mutex_);

  const std::unique_ptr<File> file_;
  // The index. If it was deferred, it is empty and not kept until somebody asks
  // for it; BuildIndex() fills it under publish_mutex_, piece by piece, while
  // Publish() already keeps it.
  mutable Index index_;
  mutable std::atomic<bool> has_index_{true};
  std::optional<uint64_t> image_key_;  // of a deferred index
  mutable absl::Mutex build_mutex_ ABSL_ACQUIRED_BEFORE(publish_mutex_);
  mutable bool is_building_ ABSL_GUARDED_BY(publish_mutex_) = false;
  // For how many updates Reserve() has made room.
  mutable size_t reserved_ ABSL_GUARDED_BY(publish_mutex_) = 0;
  // Why keys may be missing from the index. Constant once has_index_ is set.
  mutable absl::Status index_status_;

  std::atomic<uint64_t> tail_{0};
  std::atomic<uint64_t> written_end_{0};

  mutable std::atomic<uint64_t> newest_image_{0};
  mutable std::atomic<uint64_t> changes_since_image_{0};

  // Never grows.
  mutable std::atomic<uint64_t> lost_from_{UINT64_MAX};

  // Every mapping made so far. They are few, and readers may be using any of
  // them. Only the writer changes the list; readers load the pointer to the
  // last one.
  std::vector<std::unique_ptr<std::shared_ptr<const Mapping>>> mappings_;
  std::atomic<const std::shared_ptr<const Mapping>*> mapping_{nullptr};

  // Odd while the index is being changed.
  std::atomic<uint64_t> version_{0};
  // Held while the index is being changed, never across a system call. (Though
  // the page fault that touches the base of the index may read from the disk.)
  mutable absl::Mutex publish_mutex_;
  mutable std::vector<Moment*> moments_ ABSL_GUARDED_BY(publish_mutex_);
};

}  // namespace varve

#endif  // VARVE_ENGINE_STORE_GENERATION_H_
