#include "fs/base/wakeup.h"

#include <thread>

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

constexpr absl::Duration kLong = absl::Hours(1);

TEST(WakeupTest, WaitsUntilTheTime) {
  Wakeup wakeup;
  const Wakeup::Clock::time_point end = Wakeup::After(absl::Milliseconds(20));
  wakeup.WaitUntil(end);
  EXPECT_GE(Wakeup::Clock::now(), end);
}

TEST(WakeupTest, DoesNotWaitForWhatIsPast) {
  Wakeup wakeup;
  wakeup.WaitUntil({});
  wakeup.WaitUntil(Wakeup::Clock::now());
}

TEST(WakeupTest, IsWokenByAnother) {
  Wakeup wakeup;
  const Wakeup::Clock::time_point end = Wakeup::After(kLong);
  std::thread waker([&] { wakeup.Wake(); });
  wakeup.WaitUntil(end);
  EXPECT_LT(Wakeup::Clock::now(), end);
  waker.join();
}

TEST(WakeupTest, AWakeBeforeTheWaitEndsItAndNoOther) {
  Wakeup wakeup;
  wakeup.Wake();
  wakeup.Wake();
  const Wakeup::Clock::time_point end = Wakeup::After(kLong);
  wakeup.WaitUntil(end);
  EXPECT_LT(Wakeup::Clock::now(), end);
  const Wakeup::Clock::time_point next = Wakeup::After(absl::Milliseconds(20));
  wakeup.WaitUntil(next);
  EXPECT_GE(Wakeup::Clock::now(), next);
}

TEST(WakeupTest, ForEverIsNotBeforeNow) {
  EXPECT_GT(Wakeup::After(absl::InfiniteDuration()), Wakeup::After(kLong));
}

}  // namespace
}  // namespace varve::fs
