#include "fs/format/timestamp.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

struct timespec Time(int64_t seconds, int64_t nanoseconds) {
  struct timespec time;
  time.tv_sec = seconds;
  time.tv_nsec = nanoseconds;
  return time;
}

void ExpectKept(int64_t seconds, int64_t nanoseconds) {
  const struct timespec back =
      Timestamp::From(Time(seconds, nanoseconds)).ToTimespec();
  EXPECT_EQ(back.tv_sec, seconds);
  EXPECT_EQ(back.tv_nsec, nanoseconds);
}

TEST(TimestampTest, KeepsTimesWithNanoseconds) {
  ExpectKept(0, 0);
  ExpectKept(0, 1);
  ExpectKept(1'700'000'000, 123'456'789);
  ExpectKept(-1, 999'999'999);
  ExpectKept(Timestamp::kMinSeconds, 0);
  ExpectKept(Timestamp::kMinSeconds + 1, 999'999'999);
  ExpectKept(Timestamp::kMaxSeconds, 0);
  ExpectKept(Timestamp::kMaxSeconds - 1, 999'999'999);
}

TEST(TimestampTest, RangeIsThatOfExt4) {
  EXPECT_EQ(Timestamp::kMinSeconds, -2147483648);  // 1901-12-13
  EXPECT_EQ(Timestamp::kMaxSeconds, 15032385535);  // 2446-05-10
}

TEST(TimestampTest, TimesOutsideBecomeTheNearestInside) {
  EXPECT_EQ(Timestamp::From(Time(INT64_MIN, 5)),
            Timestamp::From(Time(Timestamp::kMinSeconds, 0)));
  EXPECT_EQ(Timestamp::From(Time(Timestamp::kMinSeconds, 5)),
            Timestamp::From(Time(Timestamp::kMinSeconds, 0)));
  EXPECT_EQ(Timestamp::From(Time(INT64_MAX, 5)),
            Timestamp::From(Time(Timestamp::kMaxSeconds, 0)));
  EXPECT_EQ(Timestamp::From(Time(7, -1)), Timestamp::From(Time(7, 0)));
  EXPECT_EQ(Timestamp::From(Time(7, 1'000'000'000)),
            Timestamp::From(Time(7, 999'999'999)));
}

TEST(TimestampTest, DefaultIsTheEpoch) {
  EXPECT_EQ(Timestamp(), Timestamp::From(Time(0, 0)));
}

TEST(TimestampTest, OrdersAsTimesDo) {
  EXPECT_LT(Timestamp::From(Time(-1, 999'999'999)),
            Timestamp::From(Time(0, 0)));
  EXPECT_LT(Timestamp::From(Time(0, 999'999'999)), Timestamp::From(Time(1, 0)));
  EXPECT_LT(Timestamp::From(Time(Timestamp::kMinSeconds, 0)),
            Timestamp::From(Time(Timestamp::kMaxSeconds, 0)));
}

TEST(TimestampTest, AnyPackedValueIsAValidTime) {
  for (const uint64_t packed :
       {uint64_t{0}, ~uint64_t{0}, uint64_t{0x3fffffff}, uint64_t{1} << 63}) {
    const struct timespec time = Timestamp::FromPacked(packed).ToTimespec();
    EXPECT_GE(time.tv_nsec, 0);
    EXPECT_LE(time.tv_nsec, 999'999'999);
    EXPECT_GE(time.tv_sec, Timestamp::kMinSeconds);
    EXPECT_LE(time.tv_sec, Timestamp::kMaxSeconds);
    EXPECT_EQ(Timestamp::FromPacked(packed).packed(), packed);
  }
}

TEST(TimestampTest, NowIsBetweenBeforeAndAfter) {
  struct timespec before;
  clock_gettime(CLOCK_REALTIME, &before);
  const Timestamp now = Timestamp::Now();
  struct timespec after;
  clock_gettime(CLOCK_REALTIME, &after);
  EXPECT_LE(Timestamp::From(before), now);
  EXPECT_LE(now, Timestamp::From(after));
}

}  // namespace
}  // namespace varve::fs
