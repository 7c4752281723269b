// The system's clock is set while a volume is open.

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fs/volume/volume_test_util.h"

namespace {
std::atomic<int64_t> seconds_back{0};
}  // namespace

// Replaces the function of the C library in this program.
extern "C" int clock_gettime(clockid_t clock, struct timespec* now) noexcept {
  const long failed = syscall(SYS_clock_gettime, clock, now);
  if (failed == 0 && clock == CLOCK_REALTIME) {
    now->tv_sec -= seconds_back.load();
  }
  return static_cast<int>(failed);
}

namespace varve::fs {
namespace {

class VolumeClockTest : public VolumeTest {
 protected:
  void TearDown() override { seconds_back.store(0); }
};

TEST_F(VolumeClockTest, WhatIsCommittedIsSyncedAlsoAfterItWasSetBack) {
  Close();
  options().sync_interval = absl::Milliseconds(20);
  Open();
  seconds_back.store(3600);
  ASSERT_THAT(Write("f", "text"), IsOk());
  Store& store = volume().store();
  for (int i = 0; i < 500 && store.durable_tail() < store.tail(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(store.durable_tail(), store.tail());
}

}  // namespace
}  // namespace varve::fs
