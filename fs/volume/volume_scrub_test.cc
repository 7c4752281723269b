// Large entries, of which parts may not be read for long: they are checked in
// the background.

#include <errno.h>
#include <fcntl.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kSize = EntryChecks::kMaxQuickSize + (1 << 20);

class VolumeScrubTest : public testing::Test, public TestVolume {
 protected:
  void SetUp() override {
    Open();
    ASSERT_THAT(Write("sound", std::string(kSize, 's'), 1 << 20), IsOk());
    ASSERT_THAT(Write("bad", std::string(kSize, 'b'), 1 << 20), IsOk());
    const auto entry = volume().store().Read("bad");
    ASSERT_THAT(entry, IsOk());
    at_ = entry->location().payload_offset + kBad;
    Close();
    options().on_incident = [this](const absl::Status& status) {
      absl::MutexLock lock(&mu_);
      incidents_.emplace_back(status.message());
    };
  }
  void Damage() {
    const auto file =
        RealFileSystem()->Open(path(), OpenMode::kReadWrite, /*permissions=*/0);
    ASSERT_THAT(file, IsOk());
    struct iovec piece = {const_cast<char*>("X"), 1};
    ASSERT_THAT((*file)->WriteAt(at_, {&piece, 1}), IsOk());
  }
  std::string NextIncident() {
    absl::MutexLock lock(&mu_);
    const auto there = [this] {
      mu_.AssertReaderHeld();
      return !incidents_.empty();
    };
    if (!mu_.AwaitWithTimeout(absl::Condition(&there), absl::Minutes(1))) {
      return "none";
    }
    return incidents_.front();
  }
  bool CanBeRead(absl::string_view path, uint64_t offset) {
    const auto handle = OpenFile(path, O_RDONLY);
    return volume().Read(**handle, offset, 10).ok();
  }

  static constexpr uint64_t kBad = kSize - 100;  // where it is, in the file
  uint64_t at_ = 0;                              // and in the store
  absl::Mutex mu_;
  std::vector<std::string> incidents_ ABSL_GUARDED_BY(mu_);
};

TEST_F(VolumeScrubTest, DamageIsFoundThoughNobodyReads) {
  Damage();
  options().scrub_after = absl::ZeroDuration();
  Open();
  const BlockRange lost = BlockAt(kSize, BlockOfByte(kSize, kBad));
  EXPECT_THAT(NextIncident(),
              AllOf(HasSubstr("\"bad\""),
                    HasSubstr(absl::StrCat("damaged are bytes [", lost.begin,
                                           ", ", lost.end, ")"))));
  EXPECT_EQ(volume().scrub_progress().damaged, 1u);
  EXPECT_FALSE(CanBeRead("bad", kBad));
  EXPECT_TRUE(CanBeRead("bad", 0));
  EXPECT_TRUE(CanBeRead("sound", kBad));
  Close();
}

// What goes bad after the first read.
TEST_F(VolumeScrubTest, WhatWasReadBeforeIsNotServedAnyMore) {
  options().scrub_after = absl::Seconds(2);
  Open();
  EXPECT_TRUE(CanBeRead("bad", kBad));
  EXPECT_TRUE(CanBeRead("bad", 0));
  Damage();
  EXPECT_TRUE(CanBeRead("bad", kBad));
  EXPECT_THAT(NextIncident(), HasSubstr("\"bad\""));
  EXPECT_FALSE(CanBeRead("bad", kBad));
  EXPECT_TRUE(CanBeRead("bad", 0));
  Close();
}

// The damaged entry is not in the store's new file any more.
TEST_F(VolumeScrubTest, PlacesOfTheOldFileMeanNothingInTheNewOne) {
  options().scrub_after = absl::ZeroDuration();
  Open();
  const auto old =
      RealFileSystem()->Open(path(), OpenMode::kReadWrite, /*permissions=*/0);
  ASSERT_THAT(old, IsOk());
  // When the scrubber begins, everything is copied, and only the last step is
  // missing.
  bool begun = false;
  bool done = false;
  files().Inject({.ops = kOpSync, .times = 1000, .before = [&] {
                    const auto phase = volume().compactions().progress().phase;
                    if (phase == CompactionPhase::kCopying && !begun) {
                      begun = true;
                      // Something to catch up with.
                      EXPECT_THAT(MakeDir("d"), IsOk());
                    } else if (phase == CompactionPhase::kCatchingUp && !done) {
                      done = true;
                      // The files are taken in the order of their numbers.
                      while (volume().scrub_progress().bytes <= kSize) {
                        absl::SleepFor(absl::Milliseconds(1));
                      }
                    }
                  }});
  ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
  ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
  files().Heal();
  ASSERT_TRUE(done);
  if (volume().scrub_progress().bytes > 2 * kSize - kSize / 8) {
    GTEST_SKIP() << "the machine is too busy: the scrubber has got to the end";
  }
  struct iovec piece = {const_cast<char*>("X"), 1};
  ASSERT_THAT((*old)->WriteAt(at_, {&piece, 1}), IsOk());
  // The rest of the old entry, and then the new one.
  while (volume().scrub_progress().bytes < 3 * kSize) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(volume().scrub_progress().damaged, 0u);
  EXPECT_TRUE(CanBeRead("bad", kBad));
  Close();
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(incidents_, testing::IsEmpty());
}

// Even in the middle of an entry.
TEST_F(VolumeScrubTest, ClosingDoesNotWaitForIt) {
  options().scrub_after = absl::ZeroDuration();
  Open();
  for (int round = 0; round < 5; ++round) Reopen();
  Close();
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(incidents_, testing::IsEmpty());
}

}  // namespace
}  // namespace varve::fs
