// IndexImage: an index that was written into the store as an entry and is used
// in place, through the mapping (docs/format.md, "Index image"). It holds every
// key that was live when it was written, and never changes.
//
// Whatever its bytes are, a look-up takes a number of steps that is logarithmic
// in its size, and the resulting offset of metadata lies below the image. The
// caller must check that the entry there has that key.
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

// A key of an image, as it lies in the file: both fields are little-endian.
struct IndexedKey {
  uint64_t key_hash = 0;
  uint64_t metadata_offset = 0;
};

class IndexImage {
 public:
  static constexpr uint64_t kHeaderSize = 64;

  // The image that `entry` holds. `mapping` must cover the file up to the end
  // of `entry`. Returns null if `entry` is no image, is damaged, or was written
  // for another place or for other entries before it. Reads all of it.
  static std::unique_ptr<const IndexImage> Load(
      std::shared_ptr<const Mapping> mapping, const EntryLocation& entry);

  // The header of an image that will follow the entry that ends at `tail`, in
  // `mapping`. The payload of the image is this header and then `count` keys in
  // the order of their hashes, without duplicates.
  static std::string Header(const Mapping& mapping, uint64_t tail,
                            uint64_t count);

  std::optional<uint64_t> Find(uint64_t key_hash) const;
  // Prefetches the memory that Find() is likely to look at first.
  void Prefetch(uint64_t key_hash) const;

  size_t size() const { return count_; }
  // `position` must be less than size(). The offset may be out of bounds if the
  // disk has failed since Load(); see IsValid().
  IndexedKey At(size_t position) const;
  bool IsValid(const IndexedKey& key) const;

  // Where the image itself lies. It knows the entries below its prev_tail.
  const EntryLocation& location() const { return location_; }
  // Whether bytes of the image are lost, so that an answer may be wrong.
  bool HasLostBytes() const;
  // Whether the image is still as it was when it was loaded, which a failing
  // disk can change. Reads all of it.
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
