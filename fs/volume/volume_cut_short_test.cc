// Stores whose end is missing, as after an unfinished download.

#include <string>

#include "absl/strings/str_cat.h"
#include "fs/log/store_identity.h"
#include "fs/volume/original_test_util.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class VolumeCutShortTest : public VolumeTest {
 protected:
  void SetUp() override {
    Open();
    for (int i = 0; i < 20; ++i) {
      ASSERT_THAT(Write(absl::StrCat("f", i), Pattern(i, 3000)), IsOk());
      ASSERT_THAT(Write(absl::StrCat("f", i), Pattern(i, 2000)), IsOk());
    }
    CompactVolume();
  }
  void CompactVolume() {
    ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
    ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
  }
  void OpenReadOnly() {
    options().read_only = true;
    options().create = false;
    Open();
    options().read_only = false;
  }
};

TEST_F(VolumeCutShortTest, WhatIsKnownToBeMissingIsToldAndNothingIsChanged) {
  // The loss of commits after the compaction cannot be noticed.
  const auto identity = FindIdentity(*options().file_system, path(), {});
  ASSERT_THAT(identity, IsOk());
  const uint64_t least = (*identity)->least_length.value_or(0);
  ASSERT_GT(least, 0);
  ASSERT_THAT(Write("later", "text"), IsOk());
  Close();
  const std::string whole = ReadWholeFile(path());
  for (size_t size = least - 1; size > 200; size -= 1 + size / 7) {
    SCOPED_TRACE(size);
    WriteWholeFile(path(), whole.substr(0, size));
    const absl::Status status = TryOpen();
    EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
    EXPECT_TRUE(IsCutShort(status)) << status;
    EXPECT_TRUE(ReadWholeFile(path()) == whole.substr(0, size));
    EXPECT_EQ(directory().Listing(), "store ");
    OpenReadOnly();
    EXPECT_TRUE(IsCutShort(volume().cut_short()));
    EXPECT_THAT(volume().notes(), Contains(HasSubstr("CUT SHORT")));
    EXPECT_FALSE(volume().closed_properly());
    Close();
    options().read_damaged = true;
    Open();
    EXPECT_TRUE(volume().read_only());
    EXPECT_TRUE(IsCutShort(volume().failure()));
    Close();
    options().read_damaged = false;
  }
  WriteWholeFile(path(), whole);
  Open();
  EXPECT_THAT(volume().cut_short(), IsOk());
  EXPECT_EQ(*Read("later"), "text");
}

// The store is shorter than it was, but nothing is missing.
TEST_F(VolumeCutShortTest, WhatAnotherProgramHasCompactedIsWhole) {
  for (int i = 0; i < 15; ++i) {
    ASSERT_THAT(Unlink(absl::StrCat("f", i)), IsOk());
  }
  Close();
  const uint64_t size = FileSize();
  // Twice, so that the identity is the first entry again.
  for (int i = 0; i < 4; ++i) {
    RewriteAsOriginal(path());
    EXPECT_LT(FileSize(), size);
    OpenReadOnly();
    EXPECT_THAT(volume().cut_short(), IsOk());
    EXPECT_TRUE(*Read("f17") == Pattern(17, 2000));
    Close();
    if (i % 2 == 0) continue;
    Open();
    Close();
    Open();
    EXPECT_THAT(volume().cut_short(), IsOk());
    EXPECT_TRUE(*Read("f17") == Pattern(17, 2000));
    Close();
  }
}

TEST_F(VolumeCutShortTest, AnUnfinishedUseIsTold) {
  Reopen();
  EXPECT_TRUE(volume().closed_properly());
  ASSERT_THAT(Write("f", "text"), IsOk());
  Crash();
  EXPECT_FALSE(volume().closed_properly());
  EXPECT_THAT(volume().cut_short(), IsOk());
}

}  // namespace
}  // namespace varve::fs
