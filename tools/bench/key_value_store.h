// KeyValueStore: the interface through which the benchmark uses the engine and
// each of its peers.
//
// The loops over keys are inside the peers, so that none pays for a virtual
// call per key. Any failure ends the program: see Fail().
//
// Not thread-safe.

#ifndef VARVE_TOOLS_BENCH_KEY_VALUE_STORE_H_
#define VARVE_TOOLS_BENCH_KEY_VALUE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace varve::bench {

// Prints what went wrong and ends the program with status 2: a figure from a
// wrong result must never be shown.
[[noreturn]] void Fail(absl::string_view what);

// Eight bytes: a number, big-endian, so that peers that sort keys have them in
// the order of the numbers.
class Key {
 public:
  Key() = default;
  explicit Key(uint64_t number) {
    const uint64_t swapped = __builtin_bswap64(number);
    std::memcpy(bytes_, &swapped, sizeof(bytes_));
  }
  // The bytes of a counter in memory. Successive keys lie far apart in peers
  // that sort keys.
  static Key OfNative(uint64_t counter) {
    return Key(__builtin_bswap64(counter));
  }
  uint64_t number() const {
    uint64_t swapped = 0;
    std::memcpy(&swapped, bytes_, sizeof(bytes_));
    return __builtin_bswap64(swapped);
  }
  absl::string_view text() const { return {bytes_, sizeof(bytes_)}; }

 private:
  char bytes_[8];
};

// What a reader computes from a value: it looks at the start and at the length.
inline uint64_t Digest(const void* value, size_t size) {
  uint64_t start = 0;
  std::memcpy(&start, value, size < sizeof(start) ? 1 : sizeof(start));
  return start + size;
}

struct KeyValue {
  Key key;
  absl::string_view value;
};

// The sums of a walk over all entries.
struct Totals {
  uint64_t count = 0;
  uint64_t keys = 0;    // sum of KeyDigest()
  uint64_t values = 0;  // sum of Digest()

  void Add(uint64_t key, uint64_t value) {
    ++count;
    keys += key;
    values += value;
  }
  bool operator==(const Totals&) const = default;
};

class KeyValueStore {
 public:
  virtual ~KeyValueStore() = default;

  virtual absl::string_view name() const = 0;

  // Opens the store at `path`, a file or a directory as the peer needs, and
  // makes it if there is none. `capacity` is the most bytes of keys and values
  // that it will hold.
  virtual void Open(const std::string& path, uint64_t capacity) = 0;
  virtual void Close() = 0;

  // Writes one entry; it can be read when this returns.
  virtual void Put(const KeyValue& item) = 0;
  // Writes all entries in the peer's way for many at once.
  virtual void PutBatch(absl::Span<const KeyValue> items) = 0;

  // Reads the keys one by one, each of which must exist, and returns the sum of
  // the values' Digest().
  virtual uint64_t Read(absl::Span<const Key> keys) = 0;
  // The same, in the peer's way for many at once, if it has one.
  virtual uint64_t ReadBatch(absl::Span<const Key> keys) { return Read(keys); }

  // Visits each entry once, in the peer's order.
  virtual Totals Iterate() = 0;
  // The same on all cores. Only for peers that support it.
  virtual bool CanIterateInParallel() const { return false; }
  virtual Totals IterateInParallel() { return Iterate(); }
  // The number that a walk adds up for a key.
  virtual uint64_t KeyDigest(const Key& key) const { return key.number(); }
};

// The engine.
std::unique_ptr<KeyValueStore> MakeVarve();
// System calls on a file, with an array as index: the least cost of anything
// that writes the same bytes.
std::unique_ptr<KeyValueStore> MakeBare();
std::unique_ptr<KeyValueStore> MakeLmdb();
std::unique_ptr<KeyValueStore> MakeLevelDb();
std::unique_ptr<KeyValueStore> MakeRocksDb();

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_KEY_VALUE_STORE_H_
