// Little-endian loads and stores at any address.
//
// Varve uses the store file in place, through a mapping, so it runs on
// little-endian hosts only. This header asserts that, once for all.

#ifndef VARVE_ENGINE_BASE_ENDIAN_H_
#define VARVE_ENGINE_BASE_ENDIAN_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace varve {

static_assert(std::endian::native == std::endian::little);

inline uint64_t LoadLittle64(const std::byte* in) {
  uint64_t value;
  std::memcpy(&value, in, sizeof(value));
  return value;
}

inline uint32_t LoadLittle32(const std::byte* in) {
  uint32_t value;
  std::memcpy(&value, in, sizeof(value));
  return value;
}

inline void StoreLittle64(uint64_t value, std::byte* out) {
  std::memcpy(out, &value, sizeof(value));
}

inline void StoreLittle32(uint32_t value, std::byte* out) {
  std::memcpy(out, &value, sizeof(value));
}

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_ENDIAN_H_
