#include "fs/compaction/compaction_policy.h"

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using Mode = AutoCompaction::Mode;

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST(CompactionPolicyTest, MuchThatIsDeadIsCopiedAwaySomeIsPunched) {
  const CompactionPolicy policy({});
  EXPECT_TRUE(policy.Find(100 * kMiB, 300 * kMiB).copy);
  EXPECT_TRUE(policy.Find(100 * kMiB, 300 * kMiB).punch);
  EXPECT_FALSE(policy.Find(200 * kMiB, 300 * kMiB).copy);
  EXPECT_TRUE(policy.Find(200 * kMiB, 300 * kMiB).punch);
  EXPECT_FALSE(policy.Find(280 * kMiB, 300 * kMiB).punch);
  // `live` is an estimate, and may exceed `allocated`.
  EXPECT_FALSE(policy.Find(301 * kMiB, 300 * kMiB).punch);
}

TEST(CompactionPolicyTest, LittleIsNotWorthIt) {
  const CompactionPolicy policy({});
  EXPECT_FALSE(policy.Find(0, 63 * kMiB).punch);
  EXPECT_FALSE(policy.Find(0, 63 * kMiB).copy);
  EXPECT_TRUE(policy.Find(0, 64 * kMiB).copy);
}

TEST(CompactionPolicyTest, TheRatioDecidesAboutCopying) {
  const CompactionPolicy policy({.mode = Mode::kRatio, .dead_ratio = 0.8});
  EXPECT_FALSE(policy.Find(100 * kMiB, 400 * kMiB).copy);
  EXPECT_TRUE(policy.Find(100 * kMiB, 600 * kMiB).copy);
}

TEST(CompactionPolicyTest, NeverIsNever) {
  const CompactionPolicy policy({.mode = Mode::kNever});
  EXPECT_TRUE(policy.never());
  EXPECT_FALSE(policy.Find(0, 1000 * kMiB).copy);
  EXPECT_FALSE(policy.Find(0, 1000 * kMiB).punch);
}

TEST(CompactionPolicyTest, WhatOneHasLeftIsNotTriedAgain) {
  CompactionPolicy policy({});
  policy.NoteEnd(/*punch=*/true, 200 * kMiB);
  EXPECT_FALSE(policy.Find(0, 263 * kMiB).punch);
  EXPECT_TRUE(policy.Find(0, 264 * kMiB).punch);
  // Copying may gain more.
  EXPECT_TRUE(policy.Find(0, 263 * kMiB).copy);
  policy.NoteEnd(/*punch=*/false, 200 * kMiB);
  EXPECT_FALSE(policy.Find(0, 263 * kMiB).copy);
  EXPECT_TRUE(policy.Find(0, 264 * kMiB).copy);
  // The less punching leaves, the lower the limit for copying.
  policy.NoteEnd(/*punch=*/true, 0);
  EXPECT_TRUE(policy.Find(0, 64 * kMiB).copy);
}

TEST(CompactionPolicyTest, LookingTakesASmallPartOfTheTime) {
  CompactionPolicy policy({});
  const absl::Time begin = absl::FromUnixSeconds(1000);
  EXPECT_TRUE(policy.MayLook(begin));
  const absl::Time end = begin + absl::Seconds(1);
  policy.NoteLook(begin, end);
  EXPECT_FALSE(policy.MayLook(end + absl::Seconds(49)));
  EXPECT_TRUE(policy.MayLook(end + absl::Seconds(50)));
}

}  // namespace
}  // namespace varve::fs
