#include "fs/compaction/compaction_monitor.h"

#include <errno.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "engine/base/status.h"
#include "fs/compaction/compaction_policy.h"

namespace varve::fs {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST(CompactionMonitorTest, PauseForWantOfRoomEnds) {
  CompactionMonitor monitor;
  monitor.Begin({});
  monitor.PauseUnless([] { return false; }, absl::Milliseconds(50));
  EXPECT_EQ(SystemErrorNumber(monitor.Count(1)), ENOSPC);
  int looks = 0;
  monitor.Begin({});
  monitor.PauseUnless([&looks] { return ++looks > 1; }, absl::Minutes(1));
  EXPECT_TRUE(monitor.Count(1).ok());
  EXPECT_EQ(looks, 2);
}

TEST(CompactionMonitorTest, GivingUpIsForThoseWhoCopy) {
  CompactionMonitor monitor;
  const absl::Status why = SystemError(ENOSPC, "full");
  monitor.GiveUpCopying(why);
  monitor.Begin({.punch = true});
  monitor.GiveUpCopying(why);
  EXPECT_TRUE(monitor.Check().ok());
  monitor.End(absl::OkStatus(), 0);
  monitor.Begin({});
  EXPECT_TRUE(monitor.Check().ok());
  monitor.GiveUpCopying(why);
  EXPECT_EQ(monitor.Count(1), why);
  monitor.Cancel();  // the first reason counts
  EXPECT_EQ(monitor.Check(), why);
}

TEST(CompactionMonitorTest, TimeMayBeLimited) {
  CompactionMonitor monitor;
  monitor.Begin({.longest = absl::Milliseconds(20)});
  EXPECT_TRUE(absl::IsCancelled(monitor.WaitUntil([] { return false; })));
  EXPECT_TRUE(absl::IsCancelled(monitor.Count(1)));
}

TEST(CompactionMonitorTest, LimitCanBeLifted) {
  CompactionMonitor monitor;
  monitor.Begin({.bytes_per_second = 1});
  monitor.LiftLimit();
  const absl::Time begin = absl::Now();
  EXPECT_TRUE(monitor.Count(kMiB).ok());
  EXPECT_LT(absl::Now() - begin, absl::Minutes(1));
  monitor.SetBytesLeft(kMiB);
  EXPECT_EQ(monitor.progress().bytes_total, 2 * kMiB);
}

TEST(CompactionPolicyTest, GoesByWhatIsDead) {
  CompactionPolicy policy({});
  EXPECT_FALSE(policy.Find(0, 60 * kMiB).punch);
  EXPECT_FALSE(policy.Find(400 * kMiB, 500 * kMiB).punch);  // a fifth
  EXPECT_TRUE(policy.Find(350 * kMiB, 500 * kMiB).punch);
  EXPECT_FALSE(policy.Find(350 * kMiB, 500 * kMiB).copy);
  EXPECT_TRUE(policy.Find(200 * kMiB, 500 * kMiB).copy);
  EXPECT_FALSE(policy.Find(600 * kMiB, 500 * kMiB).punch);
  CompactionPolicy never({.mode = AutoCompaction::Mode::kNever});
  EXPECT_FALSE(never.Find(0, 500 * kMiB).punch);
  CompactionPolicy ratio(
      {.mode = AutoCompaction::Mode::kRatio, .dead_ratio = 0.3});
  EXPECT_TRUE(ratio.Find(340 * kMiB, 500 * kMiB).copy);
}

TEST(CompactionPolicyTest, WhatWasInVainIsNotRepeatedBeforeMoreIsDead) {
  CompactionPolicy policy({});
  policy.NoteEnd(/*punch=*/false, 300 * kMiB);
  EXPECT_FALSE(policy.Find(100 * kMiB, 400 * kMiB).copy);
  EXPECT_FALSE(policy.Find(100 * kMiB, 400 * kMiB).punch);
  // However large the store is.
  EXPECT_TRUE(policy.Find(100 * kMiB, 470 * kMiB).copy);
  policy.NoteEnd(/*punch=*/true, 10 * kMiB);
  EXPECT_TRUE(policy.Find(50 * kMiB, 150 * kMiB).copy);
  EXPECT_TRUE(policy.Find(50 * kMiB, 150 * kMiB).punch);
}

TEST(CompactionPolicyTest, LookingTakesAPartOfTheTime) {
  CompactionPolicy policy({});
  const absl::Time begin = absl::Now();
  EXPECT_TRUE(policy.MayLook(begin));
  policy.NoteLook(begin, begin + absl::Seconds(1));
  EXPECT_FALSE(policy.MayLook(begin + absl::Seconds(40)));
  EXPECT_TRUE(policy.MayLook(begin + absl::Seconds(52)));
}

}  // namespace
}  // namespace varve::fs
