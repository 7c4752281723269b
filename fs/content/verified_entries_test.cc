#include "fs/content/verified_entries.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

constexpr uint64_t kPage = uint64_t{64} * 4096;  // bytes of the store

TEST(VerifiedEntries, RemembersWhatWasAdded) {
  VerifiedEntries entries;
  EXPECT_FALSE(entries.Contains(0));
  entries.Add(0);
  entries.Add(64);
  entries.Add(uint64_t{1} << 50);
  EXPECT_TRUE(entries.Contains(0));
  EXPECT_TRUE(entries.Contains(64));
  EXPECT_FALSE(entries.Contains(128));
  EXPECT_TRUE(entries.Contains(uint64_t{1} << 50));
  entries.Clear();
  EXPECT_FALSE(entries.Contains(0));
}

// Otherwise, an entry at another offset could be taken for it.
TEST(VerifiedEntries, DoesNotRememberWhatIsNotAligned) {
  VerifiedEntries entries;
  entries.Add(65);
  EXPECT_FALSE(entries.Contains(65));
  EXPECT_FALSE(entries.Contains(64));
  entries.Add(64);
  EXPECT_FALSE(entries.Contains(65));
}

TEST(VerifiedEntries, KnowsBlocksThatBeginAUnitApart) {
  constexpr uint64_t kUnit = uint64_t{64} << 10;
  VerifiedEntries blocks(kUnit);
  for (uint64_t i = 0; i < 10; ++i) blocks.Add(192 + i * kUnit);
  EXPECT_TRUE(blocks.ContainsAll(192, 10));
  EXPECT_FALSE(blocks.ContainsAll(192, 11));
  EXPECT_TRUE(blocks.ContainsAll(192 + kUnit, 9));
  blocks.Remove(192 + 5 * kUnit);
  EXPECT_TRUE(blocks.ContainsAll(192, 5));
  EXPECT_FALSE(blocks.ContainsAll(192, 6));
  EXPECT_TRUE(blocks.ContainsAll(192 + 6 * kUnit, 4));
}

TEST(VerifiedEntries, ForgetsRatherThanGrows) {
  VerifiedEntries entries(VerifiedEntries::kAlignment, /*max_pages=*/8);
  for (uint64_t page = 0; page < 100; ++page) {
    entries.Add(page * kPage);
    EXPECT_TRUE(entries.Contains(page * kPage)) << page;
  }
  int known = 0;
  for (uint64_t page = 0; page < 100; ++page) {
    known += entries.Contains(page * kPage) ? 1 : 0;
  }
  EXPECT_EQ(known, 8);
}

}  // namespace
}  // namespace varve::fs
