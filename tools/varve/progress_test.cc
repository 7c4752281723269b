#include "tools/varve/progress.h"

#include "gtest/gtest.h"

namespace varve::tools {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST(HumanBytesTest, UnitsFit) {
  EXPECT_EQ(HumanBytes(0), "0 bytes");
  EXPECT_EQ(HumanBytes(1023), "1023 bytes");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes(kMiB - 1), "1.0 MiB");
  EXPECT_EQ(HumanBytes(3 * kMiB / 2), "1.5 MiB");
  EXPECT_EQ(HumanBytes(~uint64_t{0}), "16.0 EiB");
}

TEST(HumanTimeTest, HoursAreLeftOutUntilThereAreSome) {
  EXPECT_EQ(HumanTime(0), "0:00");
  EXPECT_EQ(HumanTime(20'500), "0:21");
  EXPECT_EQ(HumanTime(3'723'000), "1:02:03");
}

TEST(ProgressTextTest, OnlyWhatIsKnownIsSaid) {
  EXPECT_EQ(ProgressText("opening a", {.elapsed_ms = 4000}), "opening a: 0:04");
  EXPECT_EQ(ProgressText("removing", {.files = 1, .elapsed_ms = 1000}),
            "removing: 1 file, 0:01");
  EXPECT_EQ(ProgressText("copying", {.files = 120, .bytes = 3 * kMiB / 2}),
            "copying: 120 files, 1.5 MiB, 0:00");
}

TEST(ProgressTextTest, AllIsNotDoneBeforeTheEnd) {
  EXPECT_EQ(ProgressText(
                "checking a",
                {.bytes = kMiB, .total_bytes = 2 * kMiB, .elapsed_ms = 2000}),
            "checking a: 1.0 MiB of 2.0 MiB (50%), 0:02");
  EXPECT_EQ(ProgressText("checking a", {.bytes = 3 * kMiB,
                                        .total_bytes = 2 * kMiB,
                                        .elapsed_ms = 2000}),
            "checking a: 3.0 MiB of 2.0 MiB (99%), 0:02");
}

}  // namespace
}  // namespace varve::tools
