// Several writers have one file open: what each of them commits.

#include <errno.h>
#include <fcntl.h>

#include <atomic>
#include <memory>
#include <string>

#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

class VolumeWritersTest : public VolumeTest {
 protected:
  void SetUp() override {
    Open();
    ASSERT_THAT(Write("f", old_), IsOk());
  }

  // A writer that has begun to overwrite the file.
  void BeginToOverwrite() {
    writer_ = *OpenFile("f", O_WRONLY | O_TRUNC);
    ASSERT_THAT(volume().Write(*writer_, 0, Pattern(2, 400)), IsOk());
  }
  void ExpectAfterCrash(const std::string& text) {
    if (writer_ != nullptr) Abandon(std::move(writer_));
    Crash();
    EXPECT_EQ(*Read("f"), text);
  }

  const std::string old_ = Pattern(1, 4000);
  HandlePtr writer_;
};

TEST_F(VolumeWritersTest, WhoWroteNothingCommitsNothingByClosing) {
  BeginToOverwrite();
  for (const int flags : {O_RDONLY, O_RDWR, O_WRONLY}) {
    ASSERT_THAT(CloseFile(*OpenFile("f", flags)), IsOk());
  }
  ExpectAfterCrash(old_);
}

TEST_F(VolumeWritersTest, WhoHasCommittedWhatHeWroteCommitsNothingMore) {
  HandlePtr other = *OpenFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(*other, 0, "first"), IsOk());
  ASSERT_THAT(volume().Flush(*other), IsOk());
  const std::string committed = *Read("f");
  BeginToOverwrite();
  ASSERT_THAT(CloseFile(std::move(other)), IsOk());
  ExpectAfterCrash(committed);
}

TEST_F(VolumeWritersTest, WhatOthersHaveCommittedNeedsNoCommitOfOnesOwn) {
  HandlePtr other = *OpenFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(*other, 0, "first"), IsOk());
  const HandlePtr third = *OpenFile("f", O_RDONLY);
  ASSERT_THAT(volume().Fsync(*third), IsOk());
  const std::string committed = *Read("f");
  BeginToOverwrite();
  ASSERT_THAT(CloseFile(std::move(other)), IsOk());
  if (writer_ != nullptr) Abandon(std::move(writer_));
  Crash();
  EXPECT_EQ(*Read("f"), committed);
}

TEST_F(VolumeWritersTest, EveryWriterCommitsByClosing) {
  HandlePtr other = *OpenFile("f", O_RDWR);
  BeginToOverwrite();
  ASSERT_THAT(volume().Write(*other, 400, "more"), IsOk());
  ASSERT_THAT(CloseFile(std::move(other)), IsOk());
  ExpectAfterCrash(Pattern(2, 400) + "more");
}

TEST_F(VolumeWritersTest, FsyncByAnybodyCommitsAll) {
  HandlePtr other = *OpenFile("f", O_RDONLY);
  BeginToOverwrite();
  ASSERT_THAT(volume().Fsync(*other), IsOk());
  ASSERT_THAT(CloseFile(std::move(other)), IsOk());
  ExpectAfterCrash(Pattern(2, 400));
}

TEST_F(VolumeWritersTest, WhatCameThroughAMapIsAnybodysWhoMayWrite) {
  // The kernel has passed another writer's handle for it.
  HandlePtr mapper = *OpenFile("f", O_RDWR);
  writer_ = *OpenFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(*writer_, 0, "map", /*from_map=*/true), IsOk());
  ASSERT_THAT(volume().Flush(*mapper), IsOk());
  Abandon(std::move(mapper));
  ExpectAfterCrash("map" + old_.substr(3));
}

TEST_F(VolumeWritersTest, TruncationByPathCommitsNothingOfWhatOthersWrite) {
  BeginToOverwrite();
  ASSERT_THAT(Truncate("f", 100), IsOk());
  EXPECT_EQ(*Read("f"), Pattern(2, 100));
  EXPECT_EQ(GetStat("f")->attributes.size, 100u);
  ExpectAfterCrash(old_.substr(0, 100));
}

TEST_F(VolumeWritersTest,
       WhatIsWrittenAroundATruncationByPathIsCommittedLater) {
  BeginToOverwrite();
  ASSERT_THAT(Truncate("f", 1000), IsOk());
  ASSERT_THAT(volume().Write(*writer_, 1000, "end"), IsOk());
  ASSERT_THAT(CloseFile(std::move(writer_)), IsOk());
  const std::string expected = Pattern(2, 400) + std::string(600, '\0') + "end";
  EXPECT_EQ(*Read("f"), expected);
  ExpectAfterCrash(expected);
}

TEST_F(VolumeWritersTest, TruncationByPathOfADeletedFileIsSeen) {
  writer_ = *OpenFile("f", O_RDWR);
  const uint64_t ino = writer_->inode->ino;
  ASSERT_THAT(Unlink("f"), IsOk());
  ASSERT_THAT(volume().SetAttributes(ino, {.size = 10}, nullptr), IsOk());
  EXPECT_EQ(ReadHandle(*writer_), old_.substr(0, 10));
  ASSERT_THAT(CloseFile(std::move(writer_)), IsOk());
}

// In debug builds, the program ends if a thread takes a lock that it holds.
TEST_F(VolumeWritersTest, AnOpenThatCannotEmptyTheFileGivesItBack) {
  Close();
  const auto fail = std::make_shared<std::atomic<bool>>(false);
  options().now = [this, fail] {
    if (fail->exchange(false)) {
      files().Inject({.ops = kOpSync, .error_number = EIO});
      EXPECT_THAT(volume().SyncAll(), HasErrno(EIO));
    }
    return Timestamp::Now();
  };
  Open();
  ASSERT_THAT(Write("g", "not synced"), IsOk());
  fail->store(true);
  EXPECT_THAT(OpenFile("f", O_WRONLY | O_TRUNC), HasErrno(EROFS));
  files().Heal();
  EXPECT_EQ(*Read("f"), old_);
  Crash();
  EXPECT_EQ(*Read("f"), old_);
}

}  // namespace
}  // namespace varve::fs
