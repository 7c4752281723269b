#include "fs/log/byte_ranges.h"

#include <cstdint>
#include <random>
#include <set>

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using Bytes = std::set<uint64_t>;

// A set at random, in both forms.
std::pair<ByteRanges, Bytes> Any(std::mt19937& random) {
  ByteRanges ranges;
  Bytes bytes;
  for (uint32_t i = random() % 6; i > 0; --i) {
    const uint64_t begin = random() % 40;
    const uint64_t end = begin + random() % 12;
    ranges.Add(begin, end);
    for (uint64_t at = begin; at < end; ++at) bytes.insert(at);
  }
  ranges.Finish();
  return {ranges, bytes};
}

TEST(ByteRangesTest, AreSetsOfBytes) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const auto [a, in_a] = Any(random);
    const auto [b, in_b] = Any(random);
    Bytes without;
    Bytes common;
    for (const uint64_t byte : in_a) {
      (in_b.contains(byte) ? common : without).insert(byte);
    }
    ASSERT_EQ(a.size(), in_a.size());
    ASSERT_EQ(a.Without(b).size(), without.size());
    ASSERT_EQ(a.Common(b).size(), common.size());
    // The results can be worked with.
    ASSERT_EQ(a.Without(b).Common(b).size(), 0u);
    ASSERT_EQ(a.Common(b).Without(a).size(), 0u);
  }
}

}  // namespace
}  // namespace varve::fs
