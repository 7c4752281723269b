// Recognises payloads that consist of zeros. Thread-safe.

#ifndef VARVE_ENGINE_BASE_ZEROS_H_
#define VARVE_ENGINE_BASE_ZEROS_H_

#include <cstddef>
#include <cstring>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace varve {

// Whether all bytes are zero, which is true of no bytes at all. The original
// implementation of the format fails when it compacts a store with such a
// value.
inline bool IsAllZeros(absl::Span<const std::byte> bytes) {
  // Each byte is compared with the next one.
  return bytes.empty() ||
         (bytes[0] == std::byte{0} &&
          std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}
inline bool IsAllZeros(absl::string_view bytes) {
  return IsAllZeros(absl::Span<const std::byte>(
      reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()));
}

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_ZEROS_H_
