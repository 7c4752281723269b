#include "fs/log/data_id_finder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

namespace varve::fs {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

class DataIdFinderTest : public testing::Test {
 protected:
  // A record that lies where it says, or does not.
  void SeeRecord(DataIdFinder& finder, uint64_t next_data_id,
                 bool in_place = true) {
    finder.SeeRecord({.position = 64, .next_data_id = next_data_id},
                     {.payload_offset = in_place ? 64u : 128u});
  }
  uint64_t KeyOf(uint64_t id) { return identity_.DataKeyHash(id); }

  const Identity identity_ = Identity::Make({});
};

TEST_F(DataIdFinderTest, TellsOursFromOthers) {
  DataIdFinder finder(identity_, 10);
  finder.Ask(KeyOf(9));
  finder.Ask(12345);
  SeeRecord(finder, 5);
  finder.Ask(KeyOf(3));
  finder.Ask(KeyOf(11));  // has not been drawn
  EXPECT_THAT(finder.Find(),
              UnorderedElementsAre(Pair(KeyOf(9), 9), Pair(KeyOf(3), 3)));
}

TEST_F(DataIdFinderTest, FindsThemHoweverManyWereDrawn) {
  constexpr uint64_t kFar = uint64_t{1} << 60;
  DataIdFinder finder(identity_, kFar + 100);
  SeeRecord(finder, kFar + 100);
  for (uint64_t id = kFar + 99; id > kFar; --id) {
    finder.Ask(KeyOf(id));
    SeeRecord(finder, id);
  }
  SeeRecord(finder, kFar);
  const auto found = finder.Find();
  EXPECT_EQ(found.size(), 99u);
  EXPECT_EQ(found.at(KeyOf(kFar + 5)), kFar + 5);
}

TEST_F(DataIdFinderTest, RecordMayComeBetweenAnIdAndItsEntry) {
  constexpr uint64_t kFar = uint64_t{1} << 50;
  DataIdFinder finder(identity_, kFar);
  SeeRecord(finder, kFar);
  finder.Ask(KeyOf(kFar - 1));
  SeeRecord(finder, kFar);  // that the store is in use
  SeeRecord(finder, kFar - 1);
  EXPECT_THAT(finder.Find(),
              UnorderedElementsAre(Pair(KeyOf(kFar - 1), kFar - 1)));
}

TEST_F(DataIdFinderTest, NewestIdsOfAStoreWithoutRecordsAreFound) {
  // As a compaction leaves it: one checkpoint behind all entries.
  constexpr uint64_t kFar = uint64_t{1} << 50;
  DataIdFinder finder(identity_, kFar + 5);
  SeeRecord(finder, kFar);
  finder.Ask(KeyOf(kFar - 1000));
  EXPECT_EQ(finder.Find().size(), 1u);
}

TEST_F(DataIdFinderTest, OrderIsNotReliedOnWhereAnotherProgramHasChangedIt) {
  for (const bool in_place : {true, false}) {
    constexpr uint64_t kNext = 2'500'000;
    DataIdFinder finder(identity_, kNext);
    SeeRecord(finder, kNext, in_place);
    finder.Ask(KeyOf(1));
    SeeRecord(finder, kNext - 1, in_place);
    SeeRecord(finder, kNext - 2, in_place);
    EXPECT_EQ(finder.Find().size(), in_place ? 0u : 1u);
  }
}

TEST_F(DataIdFinderTest, AbsurdNumbersDoNoHarm) {
  DataIdFinder finder(identity_, 3);
  SeeRecord(finder, 0);
  finder.Ask(KeyOf(2));
  SeeRecord(finder, ~uint64_t{0});
  finder.Ask(KeyOf(1));
  SeeRecord(finder, 1);
  SeeRecord(finder, 0);
  EXPECT_EQ(finder.Find().size(), 2u);
  DataIdFinder nothing(identity_, 0);
  nothing.Ask(KeyOf(0));
  EXPECT_THAT(nothing.Find(), IsEmpty());
}

}  // namespace
}  // namespace varve::fs
