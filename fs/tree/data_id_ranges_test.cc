#include "fs/tree/data_id_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <set>

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(DataIdRangesTest, RangesThatTouchAreOne) {
  DataIdRanges ids;
  ids.Add(5, 5);
  ids.Add(7, 6);
  EXPECT_THAT(ids.ranges(), IsEmpty());
  ids.Add(10, 20);
  ids.Add(30, 40);
  EXPECT_THAT(ids.ranges(), ElementsAre(Pair(10, 20), Pair(30, 40)));
  ids.Add(20, 30);
  EXPECT_THAT(ids.ranges(), ElementsAre(Pair(10, 40)));
  ids.Add(0, UINT64_MAX);
  EXPECT_THAT(ids.ranges(), ElementsAre(Pair(0, UINT64_MAX)));
}

TEST(DataIdRangesTest, HoldsWhatASetHolds) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    DataIdRanges ids;
    std::set<uint64_t> set;
    for (int i = 0; i < 30; ++i) {
      const uint64_t begin = random() % 100;
      const uint64_t end = begin + random() % 10;
      ids.Add(begin, end);
      for (uint64_t id = begin; id < end; ++id) set.insert(id);
      for (uint64_t id = 0; id < 120; ++id) {
        ASSERT_EQ(ids.Contains(id), set.contains(id)) << id;
        ASSERT_EQ(ids.ContainsAll(id, id + 2),
                  set.contains(id) && set.contains(id + 1))
            << id;
      }
    }
    uint64_t after = 0;
    for (const auto& [begin, end] : ids.ranges()) {
      EXPECT_LT(begin, end);
      EXPECT_TRUE(after == 0 || begin > after);
      after = end;
    }
  }
}

}  // namespace
}  // namespace varve::fs
