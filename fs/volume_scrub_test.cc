// Entries too large to be checked when they are read: checked all the same, in
// the background.

#include <errno.h>
#include <fcntl.h>

#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "fs/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSize = ContentReader::kMaxVerifiedSize + (1 << 20);

class VolumeScrubTest : public testing::Test, public TestVolume {
 protected:
  void SetUp() override {
    Open();
    ASSERT_THAT(Write("sound", std::string(kSize, 's'), 1 << 20), IsOk());
    ASSERT_THAT(Write("bad", std::string(kSize, 'b'), 1 << 20), IsOk());
    const auto entry = volume().store().Read("bad");
    ASSERT_THAT(entry, IsOk());
    at_ = entry->location().payload_offset + kSize - 100;
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
  bool CanBeRead(absl::string_view path) {
    const auto handle = OpenFile(path, O_RDONLY);
    return volume().Read(**handle, 0, 10).ok();
  }

  uint64_t at_ = 0;
  absl::Mutex mu_;
  std::vector<std::string> incidents_ ABSL_GUARDED_BY(mu_);
};

TEST_F(VolumeScrubTest, DamageIsFoundThoughNobodyReads) {
  Damage();
  options().scrub_after = absl::ZeroDuration();
  Open();
  EXPECT_THAT(NextIncident(), HasSubstr("\"bad\""));
  EXPECT_EQ(volume().scrub_progress().damaged, 1u);
  EXPECT_FALSE(CanBeRead("bad"));
  EXPECT_TRUE(CanBeRead("sound"));
  Close();
}

TEST_F(VolumeScrubTest, WhatIsReadIsCheckedFirst) {
  Damage();
  options().scrub_after = absl::Hours(1);
  Open();
  EXPECT_TRUE(CanBeRead("bad"));  // by whoever comes too early
  EXPECT_THAT(NextIncident(), HasSubstr("\"bad\""));
  EXPECT_FALSE(CanBeRead("bad"));
  Close();
}

// In the middle of an entry, too.
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
