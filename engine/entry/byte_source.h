// ByteSource: how recovery looks at a file, either through the map or by
// reading.
//
// A writer looks through its map, which is fast and safe: it holds the lock, so
// nobody shortens the file. A reader without the lock must read instead: bytes
// beyond the committed tail may be cut off at any moment, and touching them in
// a map would then be a signal.
//
// Not thread-safe.

#ifndef VARVE_ENGINE_ENTRY_BYTE_SOURCE_H_
#define VARVE_ENGINE_ENTRY_BYTE_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/entry/checked_offset.h"
#include "engine/entry/entry.h"
#include "engine/io/file.h"

namespace varve {

class ByteSource {
 public:
  // Neither is owned; both must live on. `size` is that of the file.
  static std::unique_ptr<ByteSource> FromMapping(const Mapping& mapping,
                                                 uint64_t size);
  static std::unique_ptr<ByteSource> FromFile(File& file, uint64_t size);

  virtual ~ByteSource() = default;
  uint64_t size() const { return size_; }

  // A number that was found in the file as an offset in it; nothing if it lies
  // elsewhere.
  std::optional<CheckedOffset> Check(uint64_t number) const {
    return CheckedOffset::In(size_, number);
  }

  // The bytes [offset, offset + length); they stay valid until the next call.
  // nullptr if they do not lie in the file, or cannot be read.
  const std::byte* At(CheckedOffset offset, size_t length) {
    return Holds(offset, length) ? DoAt(offset.value(), length) : nullptr;
  }

  // Continues `crc` over the bytes of the range. Leaves what At() returned
  // valid. Bytes that are not there or cannot be read give a checksum that
  // matches nothing by design.
  uint32_t Crc32Of(uint32_t crc, CheckedOffset offset, uint64_t length) {
    return Holds(offset, length) ? DoCrc32Of(crc, offset.value(), length)
                                 : ~crc;
  }

  // The entry whose metadata ends at `end`, going by its bounds; nothing where
  // there is none, or it cannot be read. All of what it says lies in the file.
  std::optional<EntryLocation> EntryEndingAt(CheckedOffset end);
  // Whether the payload of an entry matches its checksum. False for what lies
  // outside of the file.
  bool HasValidChecksum(const EntryLocation& entry) {
    const auto payload = Check(entry.payload_offset);
    return payload.has_value() && Holds(*payload, entry.payload_size) &&
           Crc32Of(0, *payload, entry.payload_size) == entry.crc32;
  }

 protected:
  explicit ByteSource(uint64_t size) : size_(size) {}

  // For ranges that lie in the file.
  virtual const std::byte* DoAt(uint64_t offset, size_t length) = 0;
  virtual uint32_t DoCrc32Of(uint32_t crc, uint64_t offset,
                             uint64_t length) = 0;

 private:
  bool Holds(CheckedOffset offset, uint64_t length) const {
    return offset.value() <= size_ && length <= size_ - offset.value();
  }

  const uint64_t size_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_ENTRY_BYTE_SOURCE_H_
