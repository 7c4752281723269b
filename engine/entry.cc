#include "engine/entry.h"

#include <isa-l/crc.h>
#include <xxhash.h>

#include "engine/endian.h"

namespace varve {
namespace {

// Layout of the metadata, in bytes from its start.
constexpr size_t kKeyHashOffset = 0;
constexpr size_t kPrevTailOffset = 8;
constexpr size_t kCrc32Offset = 16;
static_assert(kCrc32Offset + sizeof(uint32_t) == kMetadataSize);

}  // namespace

uint64_t HashKey(absl::string_view key) {
  return XXH3_64bits(key.data(), key.size());
}

uint64_t HashNamespacedKey(absl::string_view name_space,
                           absl::string_view key) {
  std::byte name[16];
  StoreLittle64(HashKey(name_space), name);
  StoreLittle64(HashKey(key), name + 8);
  return XXH3_64bits(name, sizeof(name));
}

uint32_t Crc32(uint32_t crc, absl::Span<const std::byte> bytes) {
  return crc32_gzip_refl(
      crc, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

void EncodeMetadata(const Metadata& metadata, std::byte* out) {
  StoreLittle64(metadata.key_hash, out + kKeyHashOffset);
  StoreLittle64(metadata.prev_tail, out + kPrevTailOffset);
  StoreLittle32(metadata.crc32, out + kCrc32Offset);
}

Metadata DecodeMetadata(const std::byte* in) {
  return {.key_hash = LoadLittle64(in + kKeyHashOffset),
          .prev_tail = LoadLittle64(in + kPrevTailOffset),
          .crc32 = LoadLittle32(in + kCrc32Offset)};
}

bool EntryView::HasValidChecksum() const {
  return Crc32(0, payload()) == location_.crc32;
}

}  // namespace varve
