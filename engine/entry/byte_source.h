// ByteSource: the bytes of a file as recovery looks at them, either through a
// mapping or by reading.
//
// A writer uses its mapping, which is fast. It is also safe, because the writer
// holds the lock and nobody else shortens the file. A reader without the lock
// must read instead: a writer may cut off bytes beyond the committed tail at
// any moment, and touching them in a mapping would then raise a signal.
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
  // Neither argument is owned; both must outlive the result. `size` is the
  // file's.
  static std::unique_ptr<ByteSource> FromMapping(const Mapping& mapping,
                                                 uint64_t size);
  static std::unique_ptr<ByteSource> FromFile(File& file, uint64_t size);

  virtual ~ByteSource() = default;
  uint64_t size() const { return size_; }

  // Turns a number that was found in the file into an offset; nothing if the
  // offset lies outside of the file.
  std::optional<CheckedOffset> Check(uint64_t number) const {
    return CheckedOffset::In(size_, number);
  }

  // The bytes [offset, offset + length), which stay valid until the next call.
  // Returns nullptr if they do not lie in the file or cannot be read.
  const std::byte* At(CheckedOffset offset, size_t length) {
    return Holds(offset, length) ? DoAt(offset.value(), length) : nullptr;
  }

  // Continues `crc` over the bytes of the range. The result of an earlier At()
  // stays valid. If bytes are missing or cannot be read, the result is wrong on
  // purpose, so that it matches no expected checksum.
  uint32_t Crc32Of(uint32_t crc, CheckedOffset offset, uint64_t length) {
    return Holds(offset, length) ? DoCrc32Of(crc, offset.value(), length)
                                 : ~crc;
  }

  // The entry whose metadata ends at `end`, judged by its bounds alone; nothing
  // if there is none or it cannot be read. The entry lies wholly in the file.
  std::optional<EntryLocation> EntryEndingAt(CheckedOffset end);
  // Whether the payload of an entry matches its checksum. False if it lies
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
