#include "fs/base/backoff.h"

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using TimePoint = Backoff::TimePoint;

constexpr TimePoint kStart;

TimePoint After(int seconds) {
  return Wakeup::Later(kStart, absl::Seconds(seconds));
}

TEST(BackoffTest, PausesDoubleUpToTheLongest) {
  Backoff backoff(absl::Seconds(5), absl::Seconds(15));
  EXPECT_TRUE(backoff.MayTry(kStart));
  int now = 0;
  for (const int pause : {5, 10, 15, 15}) {
    backoff.NoteResult(false, After(now));
    EXPECT_FALSE(backoff.MayTry(After(now + pause - 1))) << pause;
    now += pause;
    EXPECT_TRUE(backoff.MayTry(After(now))) << pause;
  }
}

TEST(BackoffTest, SuccessEndsThePause) {
  Backoff backoff(absl::Seconds(5), absl::Seconds(60));
  backoff.NoteResult(false, After(0));
  backoff.NoteResult(false, After(0));
  backoff.NoteResult(true, After(0));
  EXPECT_TRUE(backoff.MayTry(After(0)));
  backoff.NoteResult(false, After(0));
  EXPECT_TRUE(backoff.MayTry(After(5)));
}

TEST(BackoffTest, TheFirstPauseMayBeLongerThanTheLongest) {
  Backoff backoff(absl::InfiniteDuration(), absl::Seconds(60));
  backoff.NoteResult(false, After(0));
  EXPECT_FALSE(backoff.MayTry(After(1'000'000)));
}

}  // namespace
}  // namespace varve::fs
