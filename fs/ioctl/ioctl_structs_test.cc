#include "fs/ioctl/ioctl_structs.h"

#include <errno.h>

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

CompactionProgress Running() {
  CompactionProgress progress;
  progress.phase = CompactionPhase::kCopying;
  progress.bytes_done = 250;
  progress.bytes_total = 1000;
  progress.elapsed = absl::Seconds(2);
  return progress;
}

CompactionProgress Ended(const absl::Status& result) {
  CompactionProgress progress = Running();
  progress.phase = CompactionPhase::kEnded;
  progress.result = result;
  return progress;
}

TEST(IoctlStructsTest, OptionsComeThrough) {
  const CompactionOptions options = {.punch = true, .bytes_per_second = 77};
  const auto back = FromIoctl(ToIoctl(options));
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(back->punch);
  EXPECT_EQ(back->bytes_per_second, 77);
  // A struct of nothing but zeros asks for nothing special.
  const auto plain = FromIoctl(varve_compaction_start{});
  ASSERT_TRUE(plain.ok());
  EXPECT_FALSE(plain->punch);
  EXPECT_EQ(plain->bytes_per_second, 0);
}

TEST(IoctlStructsTest, WhatIsNotKnownIsRefused) {
  const auto refused = [](void (*change)(varve_compaction_start&)) {
    varve_compaction_start start = ToIoctl(CompactionOptions());
    change(start);
    return ErrnoOf(FromIoctl(start).status());
  };
  EXPECT_EQ(refused([](auto& start) { start.version = 2; }), EINVAL);
  EXPECT_EQ(refused([](auto& start) { start.flags = 4; }), EINVAL);
  EXPECT_EQ(refused([](auto& start) { start.reserved32 = 1; }), EINVAL);
  EXPECT_EQ(refused([](auto& start) { start.reserved[4] = 1; }), EINVAL);
  EXPECT_EQ(refused([](auto& start) { start.joined = 1; }), 0);
}

TEST(IoctlStructsTest, TheTimeLeftFollowsFromTheSpeed) {
  EXPECT_EQ(ToIoctl(Running()).eta_ms, 6000);
  EXPECT_EQ(ToIoctl(Running()).elapsed_ms, 2000);
  CompactionProgress progress = Running();
  progress.bytes_done = 0;
  EXPECT_EQ(ToIoctl(progress).eta_ms, VARVE_ETA_UNKNOWN);
  progress.bytes_done = 2000;  // more than was estimated
  EXPECT_EQ(ToIoctl(progress).eta_ms, VARVE_ETA_UNKNOWN);
  progress.phase = CompactionPhase::kSwitching;
  EXPECT_EQ(ToIoctl(progress).eta_ms, 0);
  EXPECT_EQ(ToIoctl(CompactionProgress()).eta_ms, 0);
}

TEST(IoctlStructsTest, OnlyWhatHasEndedHasAResult) {
  CompactionProgress progress = Running();
  progress.result = absl::CancelledError("no");
  EXPECT_TRUE(IsRunning(ToIoctl(progress)));
  EXPECT_EQ(ToIoctl(progress).result, 0);
  EXPECT_FALSE(IsRunning(ToIoctl(Ended(absl::OkStatus()))));
  EXPECT_EQ(ToIoctl(Ended(absl::OkStatus())).result, 0);
  EXPECT_EQ(ToIoctl(Ended(absl::CancelledError(""))).result, ECANCELED);
  EXPECT_EQ(ToIoctl(Ended(SystemError(ENOSPC, "x"))).result, ENOSPC);
  EXPECT_EQ(ToIoctl(Ended(DamageError("x"))).result, EIO);
}

TEST(IoctlStructsTest, LongMessagesAreCut) {
  const varve_compaction_progress progress =
      ToIoctl(Ended(ErrorWithNumber(EIO, std::string(1000, 'x'))));
  EXPECT_EQ(std::string(progress.message),
            std::string(VARVE_MESSAGE_SIZE - 1, 'x'));
  EXPECT_STREQ(ToIoctl(Ended(ErrorWithNumber(EIO, "why"))).message, "why");
}

TEST(IoctlStructsTest, StatisticsComeThrough) {
  const varve_statistics out = ToIoctl({.total_bytes = 1,
                                        .allocated_bytes = 2,
                                        .live_bytes = 3,
                                        .dead_bytes = 4,
                                        .files = 5,
                                        .commits = 6,
                                        .extents = 7,
                                        .peak_extra_bytes = 8},
                                       9);
  EXPECT_EQ(out.version, VARVE_IOCTL_VERSION);
  const uint64_t numbers[] = {out.total_bytes,    out.allocated_bytes,
                              out.live_bytes,     out.dead_bytes,
                              out.files,          out.commits,
                              out.extents,        out.peak_extra_bytes,
                              out.available_bytes};
  for (uint64_t i = 0; i < 9; ++i) EXPECT_EQ(numbers[i], i + 1);
}

}  // namespace
}  // namespace varve::fs
