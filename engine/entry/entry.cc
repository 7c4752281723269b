#include "engine/entry/entry.h"

#include <isa-l/crc.h>
#include <xxhash.h>

#include <cstdlib>

#include "engine/base/endian.h"

namespace varve {

uint64_t HashKey(absl::string_view key) {
  return XXH3_64bits(key.data(), key.size());
}

uint64_t HashWithSeed(absl::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

PiecewiseHash::PiecewiseHash() : state_(XXH3_createState()) {
  if (state_ == nullptr) std::abort();  // as with `new`
  XXH3_64bits_reset(state_);
}

PiecewiseHash::~PiecewiseHash() { XXH3_freeState(state_); }

void PiecewiseHash::Add(absl::string_view piece) {
  XXH3_64bits_update(state_, piece.data(), piece.size());
}

uint64_t PiecewiseHash::value() const { return XXH3_64bits_digest(state_); }

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

bool EntryView::HasValidChecksum() const {
  return Crc32(0, payload()) == location_.crc32;
}

}  // namespace varve
