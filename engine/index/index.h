// Index: key hash -> offset of the newest metadata of the key.
//
// One writer, any number of readers. A reader takes no lock and never waits.
// The table uses open addressing over slots of two atomics. To grow, the writer
// builds a new table beside the old one; a reader that was searching the old
// one notices and starts again.
//
// The slot of a key depends on its hash and on a random secret of the process,
// so that a maker of a hostile store cannot choose keys that collide.
//
// Below the table there may be a base: an image of the index that was written
// into the store (index_image.h). If the table knows a key, even as deleted,
// the base is not asked about it.
//
// Memory: 20 to 32 bytes for each live key of the table, for each key deleted
// since the last growth, and for each deleted key of the base.

#ifndef VARVE_ENGINE_INDEX_INDEX_H_
#define VARVE_ENGINE_INDEX_INDEX_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "engine/index/index_image.h"

namespace varve {

// How many cache misses to have in flight at once: about as many as a core can.
inline constexpr size_t kPrefetchAhead = 16;

class Index {
 public:
  // Stands for the offset of a key that is known to be deleted. Real offsets
  // are greater than 0 and less than this.
  static constexpr uint64_t kDeleted = ~uint64_t{0};

  Index();
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  // --- For any thread ------------------------------------------------------

  std::optional<uint64_t> Find(uint64_t key_hash) const;

  // Prefetches the memory that Find() of the key will look at.
  void Prefetch(uint64_t key_hash) const;

  // The offsets of all keys that are present, in no order. A change that the
  // writer makes during the call may or may not be included.
  std::vector<uint64_t> Offsets() const;

  // The number of keys that are present.
  size_t size() const { return live_.load(std::memory_order_relaxed); }

  // The base; null if there is none.
  const IndexImage* base() const { return base_.get(); }

  // Bytes of memory in use. The base lies in the file and is not counted.
  size_t memory() const;

  // --- For the writer, one thread at a time --------------------------------

  // Makes room for `count` further keys, so that as many calls of Set() or
  // SetIfUnknown() cannot fail. RESOURCE_EXHAUSTED (ENOMEM) on failure.
  absl::Status Reserve(size_t count);

  // Sets the offset of the key. Needs room, see Reserve().
  void Set(uint64_t key_hash, uint64_t offset);

  // For filling the index from the newest entry to the oldest: does nothing if
  // the key is known, as present or as deleted. `offset` may be kDeleted. Needs
  // room. From the first call, or that of RememberDeleted(), until
  // ForgetDeleted(), the index remembers all deleted keys.
  void SetIfUnknown(uint64_t key_hash, uint64_t offset);
  void RememberDeleted() { remembers_deleted_ = true; }
  void ForgetDeleted() { remembers_deleted_ = false; }

  // Lays the table on top of an older index. There must be no readers.
  void SetBase(std::unique_ptr<const IndexImage> base);

  // Deletes the key and returns whether it was present. With a base, or while
  // deleted keys are remembered, this needs room, as Set() does.
  bool Erase(uint64_t key_hash);

  // All keys that are present and their offsets, in the order of their hashes.
  std::vector<IndexedKey> SortedKeys() const;

  // Forgets everything. There must be no readers.
  void Clear();

 private:
  struct Slot;
  struct Table;

  static uint64_t Position(const Table& table, uint64_t key_hash);
  static uint64_t Probe(const Table& table, uint64_t key_hash);
  // The slot that holds the key, or the empty one where it belongs.
  static Slot& SlotFor(const Table& table, uint64_t key_hash);

  absl::Status Grow(size_t keys_wanted);
  // Whether a new table takes over a slot of the old one.
  bool MustKeep(const Slot& slot) const;
  size_t KeysToKeep() const;
  bool IsInBase(uint64_t key_hash) const;
  Table& WriterTable() const;
  void Store(Slot& slot, uint64_t key_hash, uint64_t offset);

  // The table in use, the last one of tables_.
  std::atomic<Table*> table_{nullptr};
  std::atomic<size_t> live_{0};

  // For the writer. Former tables have released their memory but keep their
  // addresses, so that a late reader finds empty slots there.
  std::vector<std::unique_ptr<Table>> tables_;
  bool remembers_deleted_ = false;  // growing keeps them

  // Constant while there are readers.
  std::unique_ptr<const IndexImage> base_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_INDEX_INDEX_H_
