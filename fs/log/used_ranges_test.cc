#include "fs/log/used_ranges.h"

#include <cstdint>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

EntryLocation EntryAt(uint64_t payload_offset, uint64_t payload_size) {
  return {.payload_offset = payload_offset, .payload_size = payload_size};
}

TEST(UsedRanges, AnEntryIsInUseIfAPartOfItIs) {
  UsedRanges used(1000);
  used.Add(100, 110);
  used.Add(300, 400);
  used.Finish();
  EXPECT_EQ(used.begin(), 0u);
  EXPECT_EQ(used.bytes(), 110u);
  EXPECT_TRUE(used.Contains(EntryAt(90, 11)));
  EXPECT_FALSE(used.Contains(EntryAt(90, 10)));
  EXPECT_TRUE(used.Contains(EntryAt(109, 50)));
  EXPECT_FALSE(used.Contains(EntryAt(110, 190)));
  EXPECT_TRUE(used.Contains(EntryAt(350, 10)));
  EXPECT_FALSE(used.Contains(EntryAt(400, 10)));
}

TEST(UsedRanges, WhatIsSharedCountsOnce) {
  UsedRanges used(1000, /*most=*/4);
  for (int i = 0; i < 100; ++i) used.Add(10, 20);
  for (int i = 0; i < 100; ++i) used.Add(15, 30);
  used.Finish();
  EXPECT_EQ(used.begin(), 0u);
  EXPECT_EQ(used.bytes(), 20u);
}

TEST(UsedRanges, WhatLiesBeyondTheEndDoesNotCount) {
  UsedRanges used(50);
  used.Add(40, 60);
  used.Add(50, 70);
  used.Finish();
  EXPECT_EQ(used.bytes(), 10u);
}

TEST(UsedRanges, NothingIsInUseIfNothingWasAdded) {
  UsedRanges used(50);
  used.Finish();
  EXPECT_EQ(used.begin(), 0u);
  EXPECT_EQ(used.bytes(), 0u);
  EXPECT_FALSE(used.Contains(EntryAt(0, 50)));
}

// Passes from the top down find the same as a set that holds everything.
TEST(UsedRanges, SeveralPassesFindEverything) {
  constexpr uint64_t kEnd = 3000;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const size_t most = 2 + random() % 12;
    std::vector<std::pair<uint64_t, uint64_t>> ranges(random() % 60);
    std::set<uint64_t> bytes;
    for (auto& [begin, end] : ranges) {
      begin = random() % kEnd;
      end = std::min(kEnd, begin + 1 + random() % 80);
      for (uint64_t at = begin; at < end; ++at) bytes.insert(at);
    }
    std::set<uint64_t> found;
    uint64_t count = 0;
    for (uint64_t end = kEnd; end > 0;) {
      UsedRanges used(end, most);
      for (const auto& [begin, behind] : ranges) used.Add(begin, behind);
      used.Finish();
      ASSERT_LT(used.begin(), end) << "seed " << seed;
      for (uint64_t at = used.begin(); at < end; ++at) {
        if (used.Contains(EntryAt(at, 1))) found.insert(at);
      }
      count += used.bytes();
      end = used.begin();
    }
    ASSERT_EQ(found, bytes) << "seed " << seed;
    ASSERT_EQ(count, bytes.size()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace varve::fs
