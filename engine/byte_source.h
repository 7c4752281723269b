// ByteSource: how recovery looks at a file, either through the map or by
// reading.
//
// A writer looks through its map, which is fast and safe: it holds the lock, so
// nobody shortens the file. A reader without the lock must read instead: bytes
// beyond the committed tail may be cut off at any moment, and touching them in
// a map would then be a signal.
//
// Not thread-safe.

#ifndef VARVE_ENGINE_BYTE_SOURCE_H_
#define VARVE_ENGINE_BYTE_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/entry.h"
#include "engine/file.h"

namespace varve {

class ByteSource {
 public:
  // Neither is owned; both must live on. `size` is that of the file.
  static std::unique_ptr<ByteSource> FromMapping(const Mapping& mapping,
                                                 uint64_t size);
  static std::unique_ptr<ByteSource> FromFile(File& file, uint64_t size);

  virtual ~ByteSource() = default;
  uint64_t size() const { return size_; }

  // The bytes [offset, offset + length), which lie within the file; they stay
  // valid until the next call. nullptr if they cannot be read.
  virtual const std::byte* At(uint64_t offset, size_t length) = 0;

  // Continues `crc` over the bytes of the range. Leaves what At() returned
  // valid. Bytes that cannot be read give a checksum that matches nothing by
  // design.
  virtual uint32_t Crc32Of(uint32_t crc, uint64_t offset, uint64_t length) = 0;

  // The entry whose metadata ends at `end`, going by its bounds; nothing where
  // there is none, or it cannot be read.
  std::optional<EntryLocation> EntryEndingAt(uint64_t end);
  // Whether the payload of an entry matches its checksum.
  bool HasValidChecksum(const EntryLocation& entry) {
    return Crc32Of(0, entry.payload_offset, entry.payload_size) == entry.crc32;
  }

 protected:
  explicit ByteSource(uint64_t size) : size_(size) {}

 private:
  const uint64_t size_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_BYTE_SOURCE_H_
