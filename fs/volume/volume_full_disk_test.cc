// A disk that is full to the last block: operations that free space work,
// failed ones change nothing, and the space of deleted files comes back by
// itself.

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kLarge = 1 << 20;

class VolumeFullDiskTest : public VolumeTest {
 protected:
  void SetUp() override {
    const auto file = RealFileSystem()->Open(directory().File("probe"),
                                             OpenMode::kCreate, 0600);
    ASSERT_THAT(file, IsOk());
    for (const absl::Status& status :
         {(*file)->Preallocate(0, 8192), (*file)->PunchHole(0, 4096)}) {
      if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
      ASSERT_THAT(status, IsOk());
    }
    Open();
    for (int i = 0; i < 4; ++i) {
      ASSERT_THAT(Write(absl::StrCat("large", i), Pattern(i, kLarge)), IsOk());
    }
    ASSERT_THAT(Write("small", "small text"), IsOk());
    ASSERT_THAT(Write("new", "new text"), IsOk());
    ASSERT_THAT(MakeDir("d"), IsOk());
    ASSERT_THAT(volume().SyncAll(), IsOk());
    // Commits that all of it is durable.
    ASSERT_THAT(MakeDir("d/d"), IsOk());
  }

  // The host has no block left, and the store has used up its spare blocks.
  void FillDisk(int number = ENOSPC) {
    files().Inject(
        {.ops = kOpPreallocate, .times = 1 << 20, .error_number = number});
    absl::Status status;
    for (int i = 0; status.ok() && i < 1000; ++i) {
      status = Write(absl::StrCat("filler", i), Pattern(i, 20'000));
    }
    EXPECT_THAT(status, HasErrno(number));
    status = absl::OkStatus();
    for (int i = 0; status.ok() && i < 1000; ++i) {
      // The least that an operation appends.
      status = Link("filler0", absl::StrCat("d/", number, ".", i));
    }
    EXPECT_THAT(status, HasErrno(number));
  }

  // Longer than a checkpoint would be.
  void MakeLongLog() {
    for (int i = 0; i < 40; ++i) {
      ASSERT_THAT(volume().SetXattr(kRootIno, "user.a", Pattern(i, 60'000), 0),
                  IsOk());
    }
  }

  // Waits until compactions have reclaimed this much.
  void ExpectToWin(uint64_t bytes) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (absl::Now() < deadline) {
      const CompactionProgress progress = volume().compactions().progress();
      if (!progress.running() && progress.bytes_reclaimed >= bytes) return;
      absl::SleepFor(absl::Milliseconds(10));
    }
    FAIL() << "no space has come back";
  }
};

TEST_F(VolumeFullDiskTest, WhatFreesSpaceWorks) {
  for (const int number : {ENOSPC, EDQUOT}) {
    FillDisk(number);
    const std::string before = Dump();
    EXPECT_THAT(MakeDir("more"), HasErrno(number));
    EXPECT_THAT(Write("small", Pattern(1, 20'000)), HasErrno(number));
    EXPECT_THAT(Rename("small", "other"), HasErrno(number));
    EXPECT_THAT(Link("small", "other"), HasErrno(number));
    EXPECT_THAT(Truncate("small", 100'000), HasErrno(number));
    EXPECT_EQ(Dump(), before);

    EXPECT_THAT(Unlink("large0"), IsOk());
    EXPECT_THAT(RemoveDir("d/d"), IsOk());
    EXPECT_THAT(Truncate("large1", 0), IsOk());
    EXPECT_THAT(Truncate("large2", 300'000), IsOk());
    EXPECT_THAT(Truncate("large2", 300), IsOk());
    EXPECT_THAT(Rename("new", "small"), IsOk());
    auto handle = OpenFile("large3", O_RDWR);
    EXPECT_THAT(
        volume().Fallocate(**handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           0, kLarge / 2),
        IsOk());
    EXPECT_THAT(CloseFile(*std::move(handle)), IsOk());
    // Emptied and rewritten, as by a shell.
    EXPECT_THAT(Write("large3", "now it is small"), IsOk());
    EXPECT_EQ(*Read("small"), "new text");
    EXPECT_TRUE(*Read("large2") == Pattern(2, kLarge).substr(0, 300));
    const std::string after = Dump();
    Crash();
    EXPECT_EQ(Dump(), after);

    // As before, for the other number.
    for (int i = 0; i < 4; ++i) {
      ASSERT_THAT(Write(absl::StrCat("large", i), Pattern(i, kLarge)), IsOk());
    }
    ASSERT_THAT(Write("new", "new text"), IsOk());
    ASSERT_THAT(MakeDir("d/d"), IsOk());
  }
}

TEST_F(VolumeFullDiskTest, ManyFilesCanBeDeleted) {
  for (int i = 0; i < 3000; ++i) {
    ASSERT_THAT(Write(absl::StrCat("d/", i), "x"), IsOk());
  }
  FillDisk();
  for (int i = 0; i < 3000; ++i) {
    ASSERT_THAT(Unlink(absl::StrCat("d/", i)), IsOk()) << i;
  }
}

TEST_F(VolumeFullDiskTest, ClosingIsClean) {
  FillDisk();
  EXPECT_THAT(Unlink("large0"), IsOk());
  const std::string before = Dump();
  EXPECT_THAT(volume().Close(), IsOk());
  Reopen();
  for (const std::string& note : volume().notes()) {
    EXPECT_THAT(note, Not(HasSubstr("not closed properly")));
  }
  EXPECT_EQ(Dump(), before);
}

TEST_F(VolumeFullDiskTest, ACheckpointBehindTheMarkIsFollowedByAnother) {
  MakeLongLog();
  FillDisk();
  // The log stays long: there is room for the commit that marks the store as
  // closed, but not for a checkpoint.
  Close();
  files().Heal();
  options().sync_interval = absl::Milliseconds(10);
  Open();
  EXPECT_FALSE(HasCheckpoint());
  EXPECT_TRUE(AwaitCheckpoint());
  Reopen();
  for (const std::string& note : volume().notes()) {
    EXPECT_THAT(note, Not(HasSubstr("not closed properly")));
  }
}

TEST_F(VolumeFullDiskTest, ACheckpointThatFailsIsNotTriedAllTheTime) {
  MakeLongLog();
  FillDisk();
  Close();
  std::atomic<int> incidents{0};
  options().on_incident = [&](const absl::Status& status) {
    if (ErrnoOf(status) == ENOSPC) ++incidents;
  };
  options().sync_interval = absl::Milliseconds(20);
  Open();
  absl::SleepFor(absl::Seconds(2));
  Close();
  // The pause is 20 ms and doubles each time, so there are far fewer than a
  // hundred attempts.
  EXPECT_GE(incidents.load(), 2);
  EXPECT_LE(incidents.load(), 9);
  options().on_incident = nullptr;
  files().Heal();
  Open();
}

TEST_F(VolumeFullDiskTest, DeletedFilesGiveTheirSpaceBackByThemselves) {
  Close();
  options().auto_compaction.mode = AutoCompaction::Mode::kAuto;
  Open();
  FillDisk();
  const std::string small = *Read("small");
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(Unlink(absl::StrCat("large", i)), IsOk());
    ExpectToWin(kLarge - 16384);
  }
  files().Heal();
  EXPECT_THAT(Write("more", Pattern(1, kLarge)), IsOk());
  const std::string before = Dump();
  Crash();
  EXPECT_EQ(Dump(), before);
  EXPECT_EQ(*Read("small"), small);
}

TEST_F(VolumeFullDiskTest, WhatIsDeadIsGivenBackWhenTheDiskIsFoundFull) {
  Close();
  options().auto_compaction.mode = AutoCompaction::Mode::kAuto;
  Open();
  EXPECT_THAT(Unlink("large0"), IsOk());
  EXPECT_EQ(volume().compactions().progress().phase, CompactionPhase::kNone);
  FillDisk();
  ExpectToWin(kLarge - 16384);
  // It may reclaim more than that.
  EXPECT_THAT(volume().compactions().WaitForEnd(), IsOk());
  // It does not try in vain again and again.
  const int before = files().Count(kOpPunchHole);
  for (int i = 0; i < 25; ++i) {
    EXPECT_THAT(Write("small", Pattern(i, 20'000)), HasErrno(ENOSPC));
    absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_EQ(files().Count(kOpPunchHole), before);
}

TEST_F(VolumeFullDiskTest, ACompactionThatCopiesGivesWay) {
  Close();
  options().auto_compaction.mode = AutoCompaction::Mode::kAuto;
  Open();
  EXPECT_THAT(Unlink("large0"), IsOk());
  // As good as standing still.
  ASSERT_THAT(
      volume().compactions().Start({.forget = true, .bytes_per_second = 100}),
      IsOk());
  while (volume().compactions().progress().bytes_done == 0) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  FillDisk();
  ExpectToWin(kLarge - 16384);
  EXPECT_TRUE(volume().compactions().progress().punch);
  EXPECT_FALSE(RealFileSystem()->Info(path() + ".compact").ok());
}

TEST_F(VolumeFullDiskTest, NothingIsPunchedWhereThatIsNotWanted) {
  EXPECT_THAT(Unlink("large0"), IsOk());
  FillDisk();
  EXPECT_THAT(Unlink("large1"), IsOk());
  Close();
  EXPECT_EQ(files().Count(kOpPunchHole), 0);
}

}  // namespace
}  // namespace varve::fs
