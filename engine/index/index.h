// Index: key hash -> offset of the newest metadata of the key.
//
// One writer, any number of readers. A reader takes no lock and never waits:
// the table is open addressing over slots of two atomics, and growing builds a
// new table beside the old one, which readers under way notice and start again.
//
// The hash is mixed with a random secret of the process before it chooses a
// slot, so that a program that makes up the contents of a store cannot make
// keys collide.
//
// Below the table there may be a base: an image of the index that was written
// into the store (index_image.h). What the table says of a key, be it that the
// key is deleted, hides what the base says.
//
// Memory: 20 to 32 bytes per live key of the table, plus the deleted keys since
// the last growth, plus those of the base that are deleted.

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

// How many cache misses to have on their way at once: about as many as a core
// can.
inline constexpr size_t kPrefetchAhead = 16;

class Index {
 public:
  // Stands for the offset of a key that is known to be deleted. Offsets are
  // less than this, and more than 0.
  static constexpr uint64_t kDeleted = ~uint64_t{0};

  Index();
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  // --- For any thread ------------------------------------------------------

  std::optional<uint64_t> Find(uint64_t key_hash) const;

  // Fetches what a Find() of the key will look at into the cache.
  void Prefetch(uint64_t key_hash) const;

  // The offsets of all keys that are present, in no order. What the writer
  // changes meanwhile may or may not be seen.
  std::vector<uint64_t> Offsets() const;

  // The number of keys that are present.
  size_t size() const { return live_.load(std::memory_order_relaxed); }

  // What the table lies on; null if there is nothing.
  const IndexImage* base() const { return base_.get(); }

  // Bytes of memory in use, without the base: it lies in the file.
  size_t memory() const;

  // --- For the writer, one thread at a time --------------------------------

  // Makes room for `count` further keys, so that that many calls of Set() or
  // SetIfUnknown() cannot fail. RESOURCE_EXHAUSTED (ENOMEM).
  absl::Status Reserve(size_t count);

  // Needs room, see Reserve().
  void Set(uint64_t key_hash, uint64_t offset);

  // For filling the index newest entry first: does nothing if the key has been
  // seen, present or deleted. `offset` may be kDeleted. Needs room. From the
  // first call on all deleted keys are remembered, until ForgetDeleted().
  void SetIfUnknown(uint64_t key_hash, uint64_t offset);
  void ForgetDeleted() { remembers_deleted_ = false; }

  // Puts what has been filled in on top of an older index. Readers must not be
  // around.
  void SetBase(std::unique_ptr<const IndexImage> base);

  // Returns whether the key was present. With a base it needs room, as Set().
  bool Erase(uint64_t key_hash);

  // All keys that are present and their offsets, in the order of their hashes.
  std::vector<IndexedKey> SortedKeys() const;

  // Forgets everything. Readers must not be around.
  void Clear();

 private:
  struct Slot;
  struct Table;

  static uint64_t Position(const Table& table, uint64_t key_hash);
  static uint64_t Probe(const Table& table, uint64_t key_hash);
  // The slot that holds the key, or the empty one where it belongs.
  static Slot& SlotFor(const Table& table, uint64_t key_hash);

  absl::Status Grow(size_t keys_wanted);
  // Whether a new table takes over what the old one says of a key.
  bool MustKeep(const Slot& slot) const;
  size_t KeysToKeep() const;
  bool IsInBase(uint64_t key_hash) const;
  Table& WriterTable() const;
  void Store(Slot& slot, uint64_t key_hash, uint64_t offset);

  // The table in use, the last one of tables_.
  std::atomic<Table*> table_{nullptr};
  std::atomic<size_t> live_{0};

  // For the writer. Former tables have given their memory back, but keep their
  // addresses, so that a late reader finds empty slots there.
  std::vector<std::unique_ptr<Table>> tables_;
  bool remembers_deleted_ = false;  // growing keeps them

  // Constant while readers are around.
  std::unique_ptr<const IndexImage> base_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_INDEX_INDEX_H_
