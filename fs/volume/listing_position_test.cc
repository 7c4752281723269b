#include "fs/volume/listing_position.h"

#include <cstdint>
#include <random>

#include "fs/tree/items.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

TEST(ListingPosition, ComesBackFromItsNumber) {
  constexpr uint64_t kLimit = NamePlace::kLimit;
  std::vector<uint64_t> ends = {3, 4, 1000, kLimit - 1, kLimit};
  for (int bit = 2; bit < 38; ++bit) {
    for (const int more : {-1, 0, 1})
      ends.push_back((uint64_t{1} << bit) + more);
  }
  std::mt19937_64 random(3);
  for (const uint64_t end : ends) {
    if (end < 3) continue;
    const ListingPosition start = ListingPosition::Start(end);
    ASSERT_GE(start.end, end);
    ASSERT_LE(start.end - end, end >> 18) << end;
    if (end <= 1 << 20) {
      ASSERT_EQ(start.end, end);
    }
    std::vector<uint64_t> afters = {1, 2, end / 2, end - 1};
    for (int i = 0; i < 20; ++i) afters.push_back(1 + random() % (end - 1));
    for (const uint64_t after : afters) {
      const uint64_t encoded = ListingPosition{after, start.end}.Encode();
      ASSERT_NE(encoded, 0u);
      ASSERT_LT(encoded, uint64_t{1} << 63);
      if (end <= 8000) {
        ASSERT_LT(encoded, uint64_t{1} << 31);
      }
      const ListingPosition decoded = ListingPosition::Decode(encoded);
      ASSERT_EQ(decoded.after, after);
      ASSERT_EQ(decoded.end, start.end) << end << " " << after;
    }
  }
}

TEST(ListingPosition, AnyNumberIsHarmless) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t encoded = i < 1000 ? i : random() >> random() % 64;
    const ListingPosition at = ListingPosition::Decode(encoded);
    ASSERT_LE(at.after, encoded);
    // The position at which a listing would go on.
    const ListingPosition next{.after = 7, .end = at.end};
    ASSERT_EQ(ListingPosition::Decode(next.Encode()).after, 7u);
  }
}

}  // namespace
}  // namespace varve::fs
