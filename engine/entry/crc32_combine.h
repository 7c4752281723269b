// Computes the checksum of two concatenated byte strings without reading their
// bytes. Thread-safe.

#ifndef VARVE_ENGINE_ENTRY_CRC32_COMBINE_H_
#define VARVE_ENGINE_ENTRY_CRC32_COMBINE_H_

#include <cstdint>

namespace varve {

// Takes the checksums of A and of B and the length of B in bytes. Returns the
// checksum of AB.
uint32_t Crc32Combine(uint32_t first, uint32_t second, uint64_t second_size);

}  // namespace varve

#endif  // VARVE_ENGINE_ENTRY_CRC32_COMBINE_H_
