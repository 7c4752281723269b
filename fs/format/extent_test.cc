#include "fs/format/extent.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A part of an entry that starts at 1000 in the store and has 500 bytes.
Extent Part(uint64_t file_offset, uint64_t length, uint64_t entry_offset) {
  return {.file_offset = file_offset,
          .length = length,
          .store_offset = 1000 + entry_offset,
          .key_hash = 7,
          .entry_offset = entry_offset,
          .entry_size = 500,
          .entry_crc32 = 0x1234};
}

std::vector<Extent> All(const ExtentMap& map) {
  std::vector<Extent> all;
  for (const auto& [offset, extent] : map.extents()) all.push_back(extent);
  return all;
}

TEST(ExtentTest, SliceCutsBothEnds) {
  const Extent extent = Part(100, 50, 10);
  EXPECT_EQ(extent.Slice(0, 1000), extent);
  EXPECT_EQ(extent.Slice(110, 1000), Part(110, 40, 20));
  EXPECT_EQ(extent.Slice(0, 120), Part(100, 20, 10));
  EXPECT_EQ(extent.Slice(110, 120), Part(110, 10, 20));
  EXPECT_EQ(Extent::Hole(100, 50).Slice(110, 120), Extent::Hole(110, 10));
}

TEST(ExtentTest, PartLiesWhereItIsSaidTo) {
  const Extent extent = Part(100, 50, 10);
  EXPECT_EQ(extent.Part(0, 50, 100), extent);
  EXPECT_EQ(extent.Part(0, 50, 7), Part(7, 50, 10));
  EXPECT_EQ(extent.Part(20, 30, 3), Part(3, 30, 30));
  EXPECT_EQ(Extent::Hole(100, 50).Part(20, 30, 3), Extent::Hole(3, 30));
  Extent shared = extent;
  shared.shared = true;
  EXPECT_TRUE(shared.Part(20, 30, 3).shared);
}

TEST(ExtentTest, KnowsItsEntry) {
  const Extent extent = Part(100, 50, 10);
  EXPECT_EQ(extent.payload_offset(), 1000u);
  EXPECT_EQ(extent.entry_metadata_offset(), 1500u);
  EXPECT_FALSE(extent.owns_entry());
  EXPECT_TRUE(Part(3, 500, 0).owns_entry());
  Extent shared = Part(3, 500, 0);
  shared.shared = true;
  EXPECT_FALSE(shared.owns_entry());
  EXPECT_FALSE(Extent::Hole(0, 500).owns_entry());
}

TEST(ExtentMapTest, NeighboursThatContinueEachOtherBecomeOne) {
  ExtentMap map;
  map.Overlay(Part(0, 10, 0));
  map.Overlay(Part(20, 10, 20));
  EXPECT_EQ(map.extents().size(), 2u);
  map.Overlay(Part(10, 10, 10));
  EXPECT_THAT(All(map), ElementsAre(Part(0, 30, 0)));
}

TEST(ExtentMapTest, NeighboursOfOtherEntriesStayApart) {
  ExtentMap map;
  map.Overlay(Part(0, 10, 0));
  Extent other = Part(10, 10, 10);
  other.key_hash = 8;
  map.Overlay(other);
  EXPECT_EQ(map.extents().size(), 2u);
  // In the store they adjoin, but the entries are two.
  Extent next = Part(20, 10, 0);
  next.store_offset = 1020;
  next.key_hash = 8;
  map.Overlay(next);
  EXPECT_EQ(map.extents().size(), 3u);
  // Not where they continue in the entry but not in the file.
  map.Overlay(Part(50, 10, 10));
  EXPECT_EQ(map.extents().size(), 4u);
}

TEST(ExtentMapTest, OverlayInTheMiddleLeavesBothEnds) {
  ExtentMap map;
  map.Overlay(Part(0, 100, 0));
  map.Overlay(Part(40, 20, 400));
  EXPECT_THAT(All(map),
              ElementsAre(Part(0, 40, 0), Part(40, 20, 400), Part(60, 40, 60)));
  map.Overlay(Extent::Hole(30, 40));
  EXPECT_THAT(All(map), ElementsAre(Part(0, 30, 0), Part(70, 30, 70)));
  EXPECT_EQ(map.data_bytes(), 60u);
  map.Overlay(Extent::Hole(0, 100));
  EXPECT_THAT(All(map), IsEmpty());
}

TEST(ExtentMapTest, EmptyOverlayDoesNothing) {
  ExtentMap map;
  map.Overlay(Part(0, 100, 0));
  map.Overlay(Part(50, 0, 400));
  map.Overlay(Extent::Hole(50, 0));
  EXPECT_THAT(All(map), ElementsAre(Part(0, 100, 0)));
}

TEST(ExtentMapTest, TruncateCutsTheExtentAtTheEnd) {
  ExtentMap map;
  map.Overlay(Part(0, 100, 0));
  map.Overlay(Part(200, 100, 200));
  map.Truncate(400);
  EXPECT_EQ(map.extents().size(), 2u);
  map.Truncate(250);
  EXPECT_THAT(All(map), ElementsAre(Part(0, 100, 0), Part(200, 50, 200)));
  map.Truncate(200);
  EXPECT_THAT(All(map), ElementsAre(Part(0, 100, 0)));
  map.Truncate(0);
  EXPECT_TRUE(map.empty());
}

TEST(ExtentMapTest, CoverGivesHolesToo) {
  ExtentMap map;
  map.Overlay(Part(100, 100, 0));
  EXPECT_THAT(map.Cover(50, 250),
              ElementsAre(Extent::Hole(50, 50), Part(100, 100, 0),
                          Extent::Hole(200, 50)));
  EXPECT_THAT(map.Cover(120, 130), ElementsAre(Part(120, 10, 20)));
  EXPECT_THAT(map.Cover(0, 100), ElementsAre(Extent::Hole(0, 100)));
  EXPECT_THAT(map.Cover(200, 210), ElementsAre(Extent::Hole(200, 10)));
  EXPECT_THAT(map.Cover(120, 120), IsEmpty());
}

TEST(ExtentMapTest, FindsTheNextDataAndHole) {
  ExtentMap map;
  map.Overlay(Part(100, 100, 0));
  EXPECT_EQ(map.NextData(0, 300), 100u);
  EXPECT_EQ(map.NextData(150, 300), 150u);
  EXPECT_EQ(map.NextData(200, 300), 300u);
  EXPECT_EQ(map.NextHole(0, 300), 0u);
  EXPECT_EQ(map.NextHole(100, 300), 200u);
  EXPECT_EQ(map.NextHole(250, 300), 250u);
  EXPECT_EQ(map.NextHole(100, 150), 150u);
}

// The map against an array that says for each byte of the file where in the
// store it lies; 0 is a hole.
class ModelledMap {
 public:
  static constexpr uint64_t kSize = 300;

  explicit ModelledMap(uint64_t seed) : random_(seed), bytes_(kSize, 0) {}

  void Step() {
    const uint64_t begin = random_() % kSize;
    const uint64_t length = random_() % (kSize - begin) + 1;
    switch (random_() % 8) {
      case 0:
        map_.Truncate(begin);
        std::fill(bytes_.begin() + static_cast<ptrdiff_t>(begin), bytes_.end(),
                  0);
        break;
      case 1:
      case 2:
        map_.Overlay(Extent::Hole(begin, length));
        for (uint64_t i = 0; i < length; ++i) bytes_[begin + i] = 0;
        break;
      default:
        // From one of three entries, often where the file offset suggests it.
        const uint64_t entry = random_() % 3;
        const uint64_t from = random_() % 2 == 0 ? begin : random_() % 100;
        const Extent extent = {.file_offset = begin,
                               .length = length,
                               .store_offset = 1000 * (entry + 1) + from,
                               .key_hash = entry,
                               .entry_offset = from,
                               .entry_size = 500};
        map_.Overlay(extent);
        for (uint64_t i = 0; i < length; ++i) {
          bytes_[begin + i] = extent.store_offset + i;
        }
    }
  }

  void Check() {
    uint64_t end = 0;
    uint64_t data = 0;
    for (const auto& [offset, extent] : map_.extents()) {
      ASSERT_EQ(offset, extent.file_offset);
      ASSERT_GE(offset, end);
      ASSERT_GT(extent.length, 0u);
      ASSERT_FALSE(extent.is_hole());
      ASSERT_EQ(extent.payload_offset(), 1000 * (extent.key_hash + 1));
      end = extent.file_end();
      data += extent.length;
    }
    EXPECT_EQ(map_.data_bytes(), data);
    EXPECT_EQ(static_cast<uint64_t>(std::count_if(
                  bytes_.begin(), bytes_.end(), [](auto b) { return b != 0; })),
              data);
    const uint64_t from = random_() % kSize;
    const uint64_t to = from + random_() % (kSize - from + 1);
    uint64_t position = from;
    for (const Extent& extent : map_.Cover(from, to)) {
      ASSERT_EQ(extent.file_offset, position);
      for (uint64_t i = 0; i < extent.length; ++i) {
        ASSERT_EQ(bytes_[position + i],
                  extent.is_hole() ? 0 : extent.store_offset + i);
      }
      position = extent.file_end();
    }
    ASSERT_EQ(position, to);
    const auto first = [&](bool is_data) {
      uint64_t at = from;
      while (at < kSize && (bytes_[at] != 0) != is_data) ++at;
      return at;
    };
    EXPECT_EQ(map_.NextData(from, kSize), first(true));
    EXPECT_EQ(map_.NextHole(from, kSize), first(false));
  }

 private:
  std::mt19937_64 random_;
  ExtentMap map_;
  std::vector<uint64_t> bytes_;
};

TEST(ExtentMapTest, DoesWhatAnArrayDoes) {
  const uint64_t first = std::random_device()();
  for (uint64_t seed = first; seed < first + 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ModelledMap map(seed);
    for (int i = 0; i < 100; ++i) {
      map.Step();
      map.Check();
      if (testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace varve::fs
