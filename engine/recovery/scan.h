// The two scans of recovery over raw bytes, at several GB/s. Thread-safe.

#ifndef VARVE_ENGINE_RECOVERY_SCAN_H_
#define VARVE_ENGINE_RECOVERY_SCAN_H_

#include <cstddef>
#include <cstdint>

namespace varve {

// The first position p in [0, count) at which the eight bytes data[p..p+8) hold
// `needle`; `count` if there is none. Reads data[0..count+7).
size_t FindWord(const std::byte* data, size_t count, uint64_t needle);

// The last of the positions [0, count) at which metadata could lie, judged by
// its prev_tail field alone, which must be less than `limit`. Twenty zero bytes
// are not metadata, whatever the limit. Returns -1 if there is no such
// position. Reads data[0..count+19).
ptrdiff_t FindLastCandidate(const std::byte* data, size_t count,
                            uint64_t limit);

}  // namespace varve

#endif  // VARVE_ENGINE_RECOVERY_SCAN_H_
