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

TEST(VerifiedEntries, ForgetsRatherThanGrows) {
  VerifiedEntries entries(/*max_pages=*/8);
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
