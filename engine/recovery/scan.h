// The two scans of recovery over raw bytes, at several GB/s.

#ifndef VARVE_ENGINE_RECOVERY_SCAN_H_
#define VARVE_ENGINE_RECOVERY_SCAN_H_

#include <cstddef>
#include <cstdint>

namespace varve {

// The first position p in [0, count) at which the eight bytes data[p..p+8) hold
// `needle`; `count` if there is none. Reads data[0..count+7).
size_t FindWord(const std::byte* data, size_t count, uint64_t needle);

// Among the positions [0, count), the last one at which metadata could lie,
// going by its prev_tail field alone: one that is less than `limit`. A position
// with 20 zero bytes is none, whatever the limit. Returns -1 if there is none.
// Reads data[0..count+19).
ptrdiff_t FindLastCandidate(const std::byte* data, size_t count,
                            uint64_t limit);

}  // namespace varve

#endif  // VARVE_ENGINE_RECOVERY_SCAN_H_
