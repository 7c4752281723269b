// IndexImage: an index that was written into the store as an entry, and is used
// where it lies in the map (docs/format.md, "Index image"). It holds every key
// that was live when it was written, and never changes.
//
// Whatever its bytes, a look-up ends after a number of steps that is
// logarithmic in its size, and yields offsets of metadata below the image only.
// Whether the entry of that key lies there is for the reader of it to see.
//
// Immutable, hence thread-safe.

#ifndef VARVE_ENGINE_INDEX_INDEX_IMAGE_H_
#define VARVE_ENGINE_INDEX_INDEX_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "engine/entry/entry.h"
#include "engine/io/file.h"

namespace varve {

// A key in an image, as it lies in the file: both little-endian.
struct IndexedKey {
  uint64_t key_hash = 0;
  uint64_t metadata_offset = 0;
};

class IndexImage {
 public:
  static constexpr uint64_t kHeaderSize = 64;

  // The image that `entry` is, which lies in `mapping` as all that is below it
  // does. Null if it is none, is damaged, or was written for another place or
  // for other entries before it. Reads all of it.
  static std::unique_ptr<const IndexImage> Load(
      std::shared_ptr<const Mapping> mapping, const EntryLocation& entry);

  // What precedes the keys in the payload of an image that is to follow the
  // entry that ends at `tail`, in `mapping`. The payload is these bytes, and
  // then `count` keys in the order of their hashes, none twice.
  static std::string Header(const Mapping& mapping, uint64_t tail,
                            uint64_t count);

  std::optional<uint64_t> Find(uint64_t key_hash) const;
  // Fetches what Find() is likely to look at first into the cache.
  void Prefetch(uint64_t key_hash) const;

  size_t size() const { return count_; }
  // `position` is less than size(). The offset may be out of bounds only where
  // the disk has failed since; see IsValid().
  IndexedKey At(size_t position) const;
  bool IsValid(const IndexedKey& key) const;

  // Where the image itself lies. What it knows of ends at its prev_tail.
  const EntryLocation& location() const { return location_; }
  // Whether bytes of it are gone, so that an answer may be wrong.
  bool HasLostBytes() const;
  // Whether all of it is what it was when it was loaded, which a disk can
  // change. Reads all of it.
  bool IsIntact() const;

 private:
  IndexImage(std::shared_ptr<const Mapping> mapping,
             const EntryLocation& location);

  bool HeaderMatches() const;
  // In one pass: whether the checksum matches, the keys are in order, and their
  // offsets in bounds.
  bool KeysAreSound() const;
  // The checksum of the keys from `first` up to `last`. None if they, and the
  // key before them, are not in order, or if an offset is not in bounds.
  std::optional<uint32_t> SumUp(size_t first, size_t last) const;
  // Whether some of the entries are where the image says.
  bool SampleIsThere() const;
  absl::Span<const std::byte> payload() const;

  const std::shared_ptr<const Mapping> mapping_;
  const EntryLocation location_;
  const std::byte* const keys_;
  const size_t count_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_INDEX_INDEX_IMAGE_H_
