// Generation: one file that serves as the store, with its mapping, its index
// and how far it has been written. Compaction replaces the whole generation;
// whoever still uses the old one keeps it alive.
//
// Readers may call everything that is not said to be for the writer. The writer
// is the thread that holds the store's writer lock.

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

// One change of the index: the new offset of a key, or Index::kDeleted.
struct IndexUpdate {
  uint64_t key_hash = 0;
  uint64_t metadata_offset = 0;
};

// Maps `file` over far more than `needed` bytes, or less if there is not enough
// address space; at least `needed`.
absl::StatusOr<std::shared_ptr<const Mapping>> MapGenerously(File& file,
                                                             uint64_t needed);

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // A moment of the index, told apart from what is written afterwards. While
  // one lives, the writer notes what it replaces.
  class Moment {
   public:
    explicit Moment(const Generation& generation);
    ~Moment();
    Moment(const Moment&) = delete;
    Moment& operator=(const Moment&) = delete;

    uint64_t tail() const { return tail_; }
    // Whether the metadata at this offset was the newest of its key.
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
  const Index& index() const { return index_; }

  // The end of what is committed.
  uint64_t tail() const { return tail_.load(std::memory_order_acquire); }
  // The end of what can be read: the tail, or beyond it that of a stream.
  uint64_t written_end() const {
    return written_end_.load(std::memory_order_acquire);
  }

  // From where on bytes are known to have been cut off the file by somebody
  // else: beyond the tail as long as there are none.
  uint64_t lost_from() const {
    return lost_from_.load(std::memory_order_relaxed);
  }
  void NoteLostFrom(uint64_t offset) const;
  // DATA_LOSS (EIO) if bytes below `end` are.
  absl::Status CheckNotLost(uint64_t end) const;

  // The mapping in use. To be loaded after the offset or end that is to be read
  // through it. The reference is valid as long as the generation.
  const std::shared_ptr<const Mapping>& mapping() const {
    return *mapping_.load(std::memory_order_acquire);
  }

  // The newest entry of the key, not pinned. Nothing if it is absent; an entry
  // that cannot be one is DATA_LOSS.
  std::optional<uint64_t> Find(uint64_t key_hash) const {
    return index_.Find(key_hash);
  }
  // DATA_LOSS (EIO) if what says that a key is absent cannot be read any more.
  absl::Status CheckIndexWhole() const;
  // The same, and that the rest of the image is what it was when the store was
  // opened. Reads the image: for a caller that is about to destroy what the
  // index does not know of. What it said before the call can be relied on then.
  absl::Status CheckIndexIntact() const;
  absl::StatusOr<EntryView> ViewOf(uint64_t key_hash,
                                   uint64_t metadata_offset) const;
  // The entry that ends at `end`, at most the tail; DATA_LOSS if none can.
  absl::StatusOr<EntryView> EntryEndingAt(uint64_t end) const;

  // Calls Find() for each key, all at one moment.
  void FindAll(absl::Span<const uint64_t> key_hashes,
               absl::Span<uint64_t> offsets) const;

  // The metadata offsets of all live entries, as of one moment, in no order.
  std::vector<uint64_t> LiveOffsets() const;

  // Metadata offset of the newest image of the index, 0 if none is known, and
  // how many changes of the index were appended since.
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

  // For filling the index before anyone reads it.
  Index& mutable_index() { return index_; }

  // Makes the mapping cover `end`.
  absl::Status EnsureMapped(uint64_t end);
  // Makes Publish() of that many updates unable to fail.
  absl::Status Reserve(size_t updates) { return index_.Reserve(updates); }

  void set_written_end(uint64_t end) {
    written_end_.store(end, std::memory_order_release);
  }
  // Puts bytes that have been written into effect: index first, then tail.
  void Publish(absl::Span<const IndexUpdate> updates, uint64_t tail);

 private:
  // Calls `look`, perhaps several times; the last time, nothing is published.
  template <typename Look>
  void AtOneMoment(const Look& look) const;
  void Apply(const IndexUpdate& update)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(publish_mutex_);

  const std::unique_ptr<File> file_;
  Index index_;

  std::atomic<uint64_t> tail_{0};
  std::atomic<uint64_t> written_end_{0};

  std::atomic<uint64_t> newest_image_{0};
  std::atomic<uint64_t> changes_since_image_{0};

  // Only ever falls.
  mutable std::atomic<uint64_t> lost_from_{UINT64_MAX};

  // Every mapping made so far, for the writer: they are few, and readers may be
  // using any of them. The pointer to the last one is what readers load.
  std::vector<std::unique_ptr<std::shared_ptr<const Mapping>>> mappings_;
  std::atomic<const std::shared_ptr<const Mapping>*> mapping_{nullptr};

  // Odd while the index is being changed.
  std::atomic<uint64_t> version_{0};
  // Held while the index is being changed, never across a system call (though
  // the base of the index may have to be read from the disk again).
  mutable absl::Mutex publish_mutex_;
  mutable std::vector<Moment*> moments_ ABSL_GUARDED_BY(publish_mutex_);
};

}  // namespace varve

#endif  // VARVE_ENGINE_STORE_GENERATION_H_
