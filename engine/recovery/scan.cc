#include "engine/recovery/scan.h"

#include <bit>

#include "engine/base/endian.h"
#include "engine/entry/entry.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace varve {
namespace {

constexpr size_t kPrevTailOffset = 8;  // in the metadata

bool IsZeroMetadata(const std::byte* metadata) {
  return LoadLittle64(metadata) == 0 && LoadLittle64(metadata + 8) == 0 &&
         LoadLittle32(metadata + 16) == 0;
}

// The start of the run of zero bytes that data[position] belongs to.
size_t StartOfZeros(const std::byte* data, size_t position) {
  while (position >= 8 && LoadLittle64(data + position - 8) == 0) position -= 8;
  while (position > 0 && data[position - 1] == std::byte{0}) --position;
  return position;
}

#if defined(__SSE2__)

__m128i Load16(const std::byte* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}

// The number of high bytes, at most 4, that are zero in every word below
// `limit`.
int ZeroHighBytes(uint64_t limit) {
  const int zero_bits = limit == 0 ? 64 : std::countl_zero(limit - 1);
  return zero_bits >= 32 ? 4 : zero_bits / 8;
}

// A bit for each of the 16 positions from `at` whose prev_tail field has zeros
// in its `zero_bytes` highest bytes. Reads at[..31).
unsigned PlausibleTails(const std::byte* at, int zero_bytes) {
  const __m128i zero = _mm_setzero_si128();
  const std::byte* const highest = at + kPrevTailOffset + 7;
  __m128i all = _mm_cmpeq_epi8(zero, zero);
  for (int i = 0; i < zero_bytes; ++i) {
    all = _mm_and_si128(all, _mm_cmpeq_epi8(Load16(highest - i), zero));
  }
  return static_cast<unsigned>(_mm_movemask_epi8(all));
}

// Whether the 32-bit `wanted` may begin at one of the 16 positions from `at`.
// Reads at[..19).
bool MayHold(const std::byte* at, __m128i wanted) {
  const __m128i any =
      _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi32(Load16(at), wanted),
                                _mm_cmpeq_epi32(Load16(at + 1), wanted)),
                   _mm_or_si128(_mm_cmpeq_epi32(Load16(at + 2), wanted),
                                _mm_cmpeq_epi32(Load16(at + 3), wanted)));
  return _mm_movemask_epi8(any) != 0;
}

#endif

}  // namespace

size_t FindWord(const std::byte* data, size_t count, uint64_t needle) {
  size_t position = 0;
#if defined(__SSE2__)
  // The half that is not zero is the rarer one.
  const auto low = static_cast<uint32_t>(needle);
  const size_t half = low != 0 ? 0 : 4;
  const __m128i wanted = _mm_set1_epi32(
      static_cast<int>(low != 0 ? low : static_cast<uint32_t>(needle >> 32)));
  // 16 positions at a time, of which the last reads 4 + 19 bytes at most.
  while (position + 32 <= count) {
    if (MayHold(data + position + half, wanted)) {
      for (size_t i = 0; i < 16; ++i) {
        if (LoadLittle64(data + position + i) == needle) return position + i;
      }
    }
    position += 16;
  }
#endif
  for (; position < count; ++position) {
    if (LoadLittle64(data + position) == needle) return position;
  }
  return count;
}

ptrdiff_t FindLastCandidate(const std::byte* data, size_t count,
                            uint64_t limit) {
#if defined(__SSE2__)
  const int zero_bytes = ZeroHighBytes(limit);
#endif
  size_t end = count;  // positions from here on have been looked at
  while (end > 0) {
#if defined(__SSE2__)
    if (end >= 16) {
      unsigned plausible = PlausibleTails(data + end - 16, zero_bytes);
      if (plausible == 0) {
        end -= 16;
        continue;
      }
      // Skips the implausible positions above the last plausible one.
      end -= static_cast<size_t>(std::countl_zero(plausible) - 16);
    }
#endif
    const std::byte* const metadata = data + end - 1;
    if (IsZeroMetadata(metadata)) {
      // All positions down to the start of the zeros are alike.
      end = StartOfZeros(data, end - 1);
      continue;
    }
    if (LoadLittle64(metadata + kPrevTailOffset) < limit) {
      return static_cast<ptrdiff_t>(end) - 1;
    }
    --end;
  }
  return -1;
}

}  // namespace varve
