#include "fs/tree/content_difference.h"

#include <cstdint>
#include <vector>

#include "fs/format/extent.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using Extents = std::vector<Extent>;

Extent Data(uint64_t at, uint64_t length, uint32_t crc,
            uint64_t entry_offset = 0) {
  return {.file_offset = at,
          .length = length,
          .store_offset = 64 + entry_offset,
          .key_hash = 1,
          .entry_offset = entry_offset,
          .entry_size = 1000,
          .entry_crc32 = crc};
}

void ExpectDifference(const Extents& before, const Extents& after, bool differs,
                      uint64_t new_bytes) {
  const ContentDifference found = CompareExtents(before, after);
  EXPECT_EQ(found.differs, differs);
  EXPECT_EQ(found.new_bytes, new_bytes);
}

TEST(ContentDifference, OfHolesIsNone) { ExpectDifference({}, {}, false, 0); }

TEST(ContentDifference, EqualBytesMayLieAnywhere) {
  Extent elsewhere = Data(10, 50, 1, 20);
  elsewhere.store_offset = 4096;
  elsewhere.key_hash = 2;
  elsewhere.shared = true;
  ExpectDifference({Data(10, 50, 1, 20)}, {elsewhere}, false, 0);
}

TEST(ContentDifference, EqualBytesMayBeInOneExtentOrSeveral) {
  ExpectDifference({Data(10, 50, 1, 20)},
                   {Data(10, 20, 1, 20), Data(30, 30, 1, 40)}, false, 0);
  ExpectDifference({Data(10, 20, 1, 20), Data(30, 30, 1, 40)},
                   {Data(10, 50, 1, 20)}, false, 0);
}

TEST(ContentDifference, IsOfOtherEntriesAndOtherPlacesInThem) {
  ExpectDifference({Data(0, 50, 1)}, {Data(0, 50, 2)}, true, 50);
  ExpectDifference({Data(0, 50, 1)}, {Data(0, 50, 1, 1)}, true, 50);
  Extent larger = Data(0, 50, 1);
  larger.entry_size = 1001;
  ExpectDifference({Data(0, 50, 1)}, {larger}, true, 50);
}

TEST(ContentDifference, DataOverHolesIsNewAndHolesOverDataAreNot) {
  ExpectDifference({}, {Data(10, 5, 1), Data(20, 5, 1)}, true, 10);
  ExpectDifference({Data(10, 5, 1), Data(20, 5, 1)}, {}, true, 0);
  ExpectDifference({Data(0, 10, 1), Data(20, 10, 1, 20)}, {Data(0, 30, 1)},
                   true, 10);
}

TEST(ContentDifference, CountsOnlyTheRangeThatDiffers) {
  ExpectDifference({Data(0, 100, 1)},
                   {Data(0, 40, 1), Data(40, 7, 2), Data(47, 53, 1, 47)}, true,
                   7);
}

// Lists as a hostile store may have them: out of order, overlapping, and at the
// end of what is possible. The result does not matter.
TEST(ContentDifference, EndsWhateverTheExtentsAre) {
  const Extents hostile = {Data(50, 10, 1), Data(0, 100, 1), Data(20, 1, 2),
                           Data(INT64_MAX - 10, 10, 3), Data(5, 5, 1)};
  const Extents sound = {Data(0, 10, 1)};
  EXPECT_TRUE(CompareExtents(hostile, sound).differs);
  EXPECT_TRUE(CompareExtents(sound, hostile).differs);
  EXPECT_FALSE(CompareExtents(hostile, hostile).differs);
}

}  // namespace
}  // namespace varve::fs
