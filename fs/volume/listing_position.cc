#include "fs/volume/listing_position.h"

#include <algorithm>
#include <bit>

#include "fs/tree/items.h"

namespace varve::fs {
namespace {

// An encoded position, beginning with its lowest bits: kFormBits for the form,
// which says how many bits the distance has and in which unit it is; the
// distance from the cookie to the end; the cookie.
constexpr unsigned kFormBits = 5;
constexpr unsigned kDistanceBits = 20;  // at most

unsigned DistanceBits(unsigned form) { return std::min(form, kDistanceBits); }
// The unit is 1, or a larger power of 4 if kDistanceBits are too few.
unsigned UnitBits(unsigned form) { return 2 * (form - DistanceBits(form)); }

}  // namespace

ListingPosition ListingPosition::Start(uint64_t end) {
  // Round here. Later distances are smaller, so they need no further rounding.
  const ListingPosition first{.after = kSelf, .end = end};
  return {.after = 0, .end = Decode(first.Encode()).end};
}

uint64_t ListingPosition::Encode() const {
  const uint64_t distance = end - std::min(after, end);
  auto form = static_cast<unsigned>(std::bit_width(distance));
  uint64_t units = distance;
  if (form > kDistanceBits) {
    for (form = kDistanceBits + 1;; ++form) {
      const unsigned unit_bits = UnitBits(form);
      const uint64_t round_up = (uint64_t{1} << unit_bits) - 1;
      units = ((end + round_up) >> unit_bits) - (after >> unit_bits);
      if (units >> kDistanceBits == 0) break;
    }
  }
  return (after << DistanceBits(form) | units) << kFormBits | form;
}

ListingPosition ListingPosition::Decode(uint64_t encoded) {
  const unsigned form = encoded & ((1u << kFormBits) - 1);
  const uint64_t rest = encoded >> kFormBits;
  const uint64_t units = rest & ((uint64_t{1} << DistanceBits(form)) - 1);
  const uint64_t after = rest >> DistanceBits(form);
  const unsigned unit_bits = UnitBits(form);
  const uint64_t units_in_all = (after >> unit_bits) + units;
  return {.after = after,
          .end = std::min(units_in_all << unit_bits, NamePlace::kLimit)};
}

}  // namespace varve::fs
