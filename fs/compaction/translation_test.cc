#include "fs/compaction/translation.h"

#include <cstdint>
#include <random>
#include <vector>

#include "engine/base/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

Extent At(uint64_t file_offset, uint64_t length, uint64_t store_offset) {
  return {.file_offset = file_offset,
          .length = length,
          .store_offset = store_offset};
}

// Where bytes were copied: an entry at `store_offset`.
Extent Copy(uint64_t store_offset, uint64_t length) {
  return {.length = length,
          .store_offset = store_offset,
          .key_hash = store_offset,
          .entry_size = length};
}

TEST(TranslationTest, PartsOfWhatWasCopiedAreFound) {
  Translation translation;
  ASSERT_THAT(translation.Add(1000, Copy(5000, 100)), IsOk());
  std::vector<Extent> unknown;
  const auto parts = *translation.Translate(At(7, 30, 1010), &unknown);
  EXPECT_TRUE(unknown.empty());
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(parts[0].file_offset, 7u);
  EXPECT_EQ(parts[0].length, 30u);
  EXPECT_EQ(parts[0].store_offset, 5010u);
  EXPECT_EQ(parts[0].entry_offset, 10u);
  EXPECT_EQ(parts[0].entry_size, 100u);
  EXPECT_EQ(parts[0].key_hash, 5000u);
}

TEST(TranslationTest, WhatLiesInSeveralCopiesIsCut) {
  Translation translation;
  ASSERT_THAT(translation.Add(1000, Copy(5000, 50)), IsOk());
  ASSERT_THAT(translation.Add(1050, Copy(9000, 50)), IsOk());
  std::vector<Extent> unknown;
  const auto parts = *translation.Translate(At(0, 80, 1010), &unknown);
  EXPECT_TRUE(unknown.empty());
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].length, 40u);
  EXPECT_EQ(parts[0].store_offset, 5010u);
  EXPECT_EQ(parts[1].file_offset, 40u);
  EXPECT_EQ(parts[1].length, 40u);
  EXPECT_EQ(parts[1].store_offset, 9000u);
}

TEST(TranslationTest, WhatWasNotCopiedIsSaid) {
  Translation translation;
  ASSERT_THAT(translation.Add(1000, Copy(5000, 50)), IsOk());
  std::vector<Extent> unknown;
  const auto parts = *translation.Translate(At(0, 100, 980), &unknown);
  ASSERT_EQ(parts.size(), 3u);
  ASSERT_EQ(unknown.size(), 2u);
  EXPECT_EQ(unknown[0].store_offset, 980u);
  EXPECT_EQ(unknown[0].length, 20u);
  EXPECT_EQ(unknown[1].store_offset, 1050u);
  EXPECT_EQ(unknown[1].length, 30u);
  EXPECT_EQ(unknown[1].file_offset, 70u);
  EXPECT_EQ(parts[1].store_offset, 5000u);
}

TEST(TranslationTest, TheFirstCopyCounts) {
  Translation translation;
  ASSERT_THAT(translation.Add(1010, Copy(5000, 10)), IsOk());
  ASSERT_THAT(translation.Add(1000, Copy(9000, 40)), IsOk());
  std::vector<Extent> unknown;
  const auto parts = *translation.Translate(At(0, 40, 1000), &unknown);
  EXPECT_TRUE(unknown.empty());
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].store_offset, 9000u);
  EXPECT_EQ(parts[0].length, 10u);
  EXPECT_EQ(parts[1].store_offset, 5000u);
  EXPECT_EQ(parts[1].length, 10u);
  EXPECT_EQ(parts[2].store_offset, 9020u);
  EXPECT_EQ(parts[2].length, 20u);
}

TEST(TranslationTest, HolesStayHoles) {
  const Translation translation;
  std::vector<Extent> unknown;
  const auto parts = *translation.Translate(Extent::Hole(5, 10), &unknown);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_TRUE(parts[0] == Extent::Hole(5, 10));
  EXPECT_TRUE(unknown.empty());
}

// What does not fit into memory is in files, and found there.
TEST(TranslationTest, ManyPlacesAreFoundAsFewAre) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const TemporaryDirectory directory;
    std::mt19937_64 random(seed);
    Translation few;
    Translation many(RealFileSystem(), directory.File("places"),
                     /*most_in_memory=*/1 + random() % 80);
    const uint64_t steps = random() % 4000;
    for (uint64_t i = 0; i < steps; ++i) {
      const uint64_t at = random() % 100'000;
      const Extent now = Copy(1'000'000 * (i + 1), 1 + random() % 40);
      ASSERT_THAT(few.Add(at, now), IsOk());
      ASSERT_THAT(many.Add(at, now), IsOk());
    }
    EXPECT_EQ(directory.Listing(), "");
    for (int i = 0; i < 300; ++i) {
      const Extent extent =
          At(random() % 100, 1 + random() % 500, random() % 100'100);
      std::vector<Extent> unknown, unknown_to_few;
      const auto parts = many.Translate(extent, &unknown);
      ASSERT_THAT(parts, IsOk());
      ASSERT_TRUE(*parts == *few.Translate(extent, &unknown_to_few))
          << "seed " << seed;
      ASSERT_TRUE(unknown == unknown_to_few) << "seed " << seed;
      ASSERT_EQ(*many.CountCopied(extent), *few.CountCopied(extent));
    }
  }
}

}  // namespace
}  // namespace varve::fs
