// Attributes, times, space.

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

class VolumeAttributesTest : public VolumeTest {
 protected:
  void SetUp() override {
    Open();
    ASSERT_THAT(Write("f", "0123456789"), IsOk());
    ASSERT_THAT(MakeDir("d"), IsOk());
  }
  Attributes Get(absl::string_view path) { return GetStat(path)->attributes; }
  absl::Status Set(absl::string_view path, const AttributeRequest& request,
                   const Handle* handle = nullptr) {
    return volume().SetAttributes(Ino(path), request, handle).status();
  }
  // The time that a change made by `change` must have.
  template <typename F>
  Timestamp ClockDuring(F change) {
    const Timestamp before = PeekClock();
    change();
    return before;
  }
};

constexpr Timestamp kEarly = Timestamp::FromPacked(12345);
constexpr Timestamp kLate = Timestamp::FromPacked(~uint64_t{0} - (1u << 30));

TEST_F(VolumeAttributesTest, ModeOwnerAndTimesAreKept) {
  ASSERT_THAT(Set("f", {.mode = 04711}), IsOk());
  ASSERT_THAT(Set("d", {.mode = 01777}), IsOk());
  ASSERT_THAT(Set("f", {.atime = kEarly, .mtime = kLate}), IsOk());
  ASSERT_THAT(Set("d", {.uid = 4294967294, .gid = 7}), IsOk());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Get("f").mode, S_IFREG | 04711u);
    EXPECT_EQ(Get("d").mode & 0777, 0777u);
    EXPECT_TRUE(Get("f").atime == kEarly);
    EXPECT_TRUE(Get("f").mtime == kLate);
    EXPECT_EQ(Get("d").uid, 4294967294u);
    EXPECT_EQ(Get("d").gid, 7u);
    EXPECT_EQ(Get("f").uid, 1000u);
    i == 0 ? Crash() : Reopen();
  }
}

TEST_F(VolumeAttributesTest, TypeCannotBeChanged) {
  ASSERT_THAT(Set("f", {.mode = S_IFDIR | 0700}), IsOk());
  EXPECT_EQ(Get("f").mode, S_IFREG | 0700u);
}

TEST_F(VolumeAttributesTest, UnknownInodesAreNotFound) {
  EXPECT_THAT(volume().GetAttributes(999), HasErrno(ENOENT));
  EXPECT_THAT(volume().SetAttributes(999, {.mode = 0}, nullptr),
              HasErrno(ENOENT));
  EXPECT_THAT(volume().SetAttributes(999, {.size = 0}, nullptr),
              HasErrno(ENOENT));
  EXPECT_THAT(volume().ReadSymlink(999), HasErrno(ENOENT));
  EXPECT_THAT(volume().GetXattr(999, "user.a"), HasErrno(ENOENT));
  EXPECT_THAT(volume().ListXattrs(999), HasErrno(ENOENT));
  EXPECT_THAT(volume().SetXattr(999, "user.a", "", 0), HasErrno(ENOENT));
  EXPECT_THAT(volume().RemoveXattr(999, "user.a"), HasErrno(ENOENT));
}

TEST_F(VolumeAttributesTest, SizeOfWhatIsNoFileCannotBeSet) {
  ASSERT_THAT(Symlink("s", "f"), IsOk());
  EXPECT_THAT(Truncate("d", 0), HasErrno(EISDIR));
  EXPECT_THAT(Truncate("s", 0), HasErrno(EINVAL));
  EXPECT_THAT(volume().ReadSymlink(Ino("f")), HasErrno(EINVAL));
}

TEST_F(VolumeAttributesTest, SettingSizeByPathIsCommittedAtOnce) {
  ASSERT_THAT(Truncate("f", 4), IsOk());
  Crash();
  EXPECT_EQ(*Read("f"), "0123");
  ASSERT_THAT(Truncate("f", 6), IsOk());
  Crash();
  EXPECT_EQ(*Read("f"), std::string("0123\0\0", 6));
}

TEST_F(VolumeAttributesTest, SettingSizeByHandleWaitsForTheContent) {
  auto handle = OpenFile("f", O_RDWR);
  ASSERT_THAT(Set("f", {.size = 0}, handle->get()), IsOk());
  EXPECT_EQ(GetStat("f")->attributes.size, 0u);
  Abandon(*std::move(handle));
  Crash();
  EXPECT_EQ(*Read("f"), "0123456789");
}

TEST_F(VolumeAttributesTest, WritingChangesTimesAtOnceAndForGood) {
  ASSERT_THAT(Set("f", {.atime = kEarly, .mtime = kEarly}), IsOk());
  auto handle = OpenFile("f", O_RDWR);
  const Timestamp time = ClockDuring(
      [&] { ASSERT_THAT(volume().Write(**handle, 0, "x"), IsOk()); });
  EXPECT_TRUE(Get("f").mtime == time);
  EXPECT_TRUE(Get("f").ctime == time);
  EXPECT_TRUE(Get("f").atime == kEarly);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  Crash();
  EXPECT_TRUE(Get("f").mtime == time);
  EXPECT_TRUE(Get("f").ctime == time);
  EXPECT_TRUE(Get("f").atime == kEarly);
}

TEST_F(VolumeAttributesTest, TimeSetAfterWritingOutlastsTheClose) {
  auto handle = OpenFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(**handle, 0, "x"), IsOk());
  ASSERT_THAT(Set("f", {.mtime = kEarly}, handle->get()), IsOk());
  EXPECT_TRUE(Get("f").mtime == kEarly);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_TRUE(Get("f").mtime == kEarly);
  Reopen();
  EXPECT_TRUE(Get("f").mtime == kEarly);
  EXPECT_EQ(*Read("f"), "x123456789");
}

TEST_F(VolumeAttributesTest, AttributesSetWhileDirtyAreKept) {
  auto handle = OpenFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(**handle, 10, "x"), IsOk());
  ASSERT_THAT(Set("f", {.mode = 0600}), IsOk());
  ASSERT_THAT(volume().SetXattr(Ino("f"), "user.a", "v", 0), IsOk());
  ASSERT_THAT(Link("f", "g"), IsOk());
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_EQ(Get("g").mode, S_IFREG | 0600u);
  EXPECT_EQ(*volume().GetXattr(Ino("g"), "user.a"), "v");
  EXPECT_EQ(*Read("g"), "0123456789x");
}

TEST_F(VolumeAttributesTest, NamesSetTheTimesOfTheirDirectory) {
  const auto expect_changed = [&](auto change) {
    const Timestamp time = ClockDuring([&] { ASSERT_THAT(change(), IsOk()); });
    EXPECT_TRUE(Get("d").mtime == time);
    EXPECT_TRUE(Get("d").ctime == time);
  };
  expect_changed([&] { return MakeDir("d/x"); });
  expect_changed([&] { return Rename("d/x", "d/y"); });
  expect_changed([&] { return RemoveDir("d/y"); });
  expect_changed([&] { return Link("f", "d/f"); });
  expect_changed([&] { return Rename("d/f", "g"); });
  expect_changed([&] { return Rename("g", "d/f"); });
  expect_changed([&] { return Unlink("d/f"); });
}

TEST_F(VolumeAttributesTest, NamesSetTheChangeTimeOfTheirInode) {
  const uint64_t ino = Ino("f");
  const auto expect_changed = [&](auto change) {
    const Timestamp time = ClockDuring([&] { ASSERT_THAT(change(), IsOk()); });
    EXPECT_TRUE(volume().GetAttributes(ino)->attributes.ctime == time);
  };
  const Timestamp mtime = Get("f").mtime;
  expect_changed([&] { return Link("f", "g"); });
  expect_changed([&] { return Unlink("g"); });
  expect_changed([&] { return Rename("f", "g"); });
  EXPECT_TRUE(Get("g").mtime == mtime);
}

TEST_F(VolumeAttributesTest, BirthTimeNeverChanges) {
  const Timestamp birth = Get("f").btime;
  ASSERT_THAT(Write("f", "other"), IsOk());
  ASSERT_THAT(Rename("f", "g"), IsOk());
  ASSERT_THAT(Rename("g", "f"), IsOk());
  ASSERT_THAT(Set("f", {.mode = 0, .mtime = kLate}), IsOk());
  Reopen();
  EXPECT_TRUE(Get("f").btime == birth);
}

TEST_F(VolumeAttributesTest, AttributesOfAnUnlinkedFileCanBeSet) {
  auto handle = OpenFile("f", O_RDWR);
  const uint64_t ino = Ino("f");
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_THAT(
      volume().SetAttributes(ino, {.mode = 0600, .size = 3}, handle->get()),
      IsOk());
  const auto stat = volume().GetAttributes(ino);
  EXPECT_EQ(stat->attributes.mode, S_IFREG | 0600u);
  EXPECT_EQ(stat->attributes.size, 3u);
  EXPECT_EQ(ReadHandle(**handle), "012");
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
}

TEST_F(VolumeAttributesTest, BlocksCountWhatIsThere) {
  EXPECT_EQ(GetStat("f")->blocks, 1u);
  ASSERT_THAT(Write("empty", ""), IsOk());
  EXPECT_EQ(GetStat("empty")->blocks, 0u);
  ASSERT_THAT(Write("g", std::string(5000, 'x')), IsOk());
  EXPECT_EQ(GetStat("g")->blocks, 10u);
  ASSERT_THAT(Truncate("empty", 1 << 20), IsOk());
  EXPECT_EQ(GetStat("empty")->blocks, 0u);
}

TEST_F(VolumeAttributesTest, SpaceCountsLiveFiles) {
  const auto before = volume().GetSpace();
  ASSERT_THAT(before, IsOk());
  EXPECT_EQ(before->live_bytes, 10u);
  EXPECT_EQ(before->inodes, 3u);
  ASSERT_THAT(Write("g", std::string(1000, 'x')), IsOk());
  ASSERT_THAT(Link("g", "h"), IsOk());
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_EQ(volume().GetSpace()->live_bytes, 1000u);
  EXPECT_EQ(volume().GetSpace()->inodes, 3u);
  EXPECT_EQ(volume().GetSpace()->store_bytes, FileSize());
  EXPECT_GT(before->host_total, 0u);
}

TEST_F(VolumeAttributesTest, HolesTakeNoSpace) {
  constexpr uint64_t kLongest = std::numeric_limits<int64_t>::max();
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_THAT(Write(name, "0123456789"), IsOk());
    ASSERT_THAT(Truncate(name, kLongest), IsOk());
  }
  // A volume with the file that each of these tests uses.
  EXPECT_EQ(volume().GetSpace()->live_bytes, 40u);
}

// A volume that keeps access times.
class AccessTimeTest : public VolumeTest {
 protected:
  void SetUp() override {
    options().access_times = AccessTimes::kRelative;
    Open();
    ASSERT_THAT(Write("f", "0123456789"), IsOk());
    ASSERT_THAT(MakeDir("d"), IsOk());
    ASSERT_THAT(Symlink("l", "f"), IsOk());
  }
  Timestamp AccessTime(absl::string_view path) {
    return GetStat(path)->attributes.atime;
  }
  void SetTimes(absl::string_view path, Timestamp atime, Timestamp mtime) {
    EXPECT_THAT(volume().SetAttributes(
                    Ino(path), {.atime = atime, .mtime = mtime}, nullptr),
                IsOk());
  }
  Timestamp SecondsFromNow(int64_t seconds) {
    struct timespec time = PeekClock().ToTimespec();
    time.tv_sec += seconds;
    return Timestamp::From(time);
  }
};

TEST_F(AccessTimeTest, ChangesWithTheFirstReadingSinceAChange) {
  for (const char* path : {"f", "d", "l", ""}) {
    const Timestamp before = AccessTime(path);
    const Timestamp now = PeekClock();
    EXPECT_TRUE(volume().NoteAccess(Ino(path))) << path;
    EXPECT_TRUE(AccessTime(path) == now) << path;
    EXPECT_TRUE(before < now) << path;
    EXPECT_FALSE(volume().NoteAccess(Ino(path))) << path;
    EXPECT_TRUE(AccessTime(path) == now) << path;
  }
  ASSERT_THAT(Append("f", "more"), IsOk());
  EXPECT_TRUE(volume().NoteAccess(Ino("f")));
  EXPECT_FALSE(volume().NoteAccess(Ino("f")));
  ASSERT_THAT(volume().SetAttributes(Ino("f"), {.mode = 0600}, nullptr),
              IsOk());
  EXPECT_TRUE(volume().NoteAccess(Ino("f")));
}

TEST_F(AccessTimeTest, ChangesAfterADay) {
  SetTimes("f", SecondsFromNow(10), kEarly);
  EXPECT_FALSE(volume().NoteAccess(Ino("f")));
  SetTimes("f", SecondsFromNow(-2 * 86400), kEarly);
  EXPECT_TRUE(volume().NoteAccess(Ino("f")));
}

TEST_F(AccessTimeTest, IsKeptByAProperCloseAndByTheNextChange) {
  ASSERT_TRUE(volume().NoteAccess(Ino("f")));
  const Timestamp time = AccessTime("f");
  Reopen();
  EXPECT_TRUE(AccessTime("f") == time);
  ASSERT_THAT(Append("f", "more"), IsOk());
  ASSERT_TRUE(volume().NoteAccess(Ino("f")));
  const Timestamp second = AccessTime("f");
  ASSERT_THAT(volume().SetAttributes(Ino("f"), {.mode = 0600}, nullptr),
              IsOk());
  Crash();
  EXPECT_TRUE(AccessTime("f") == second);
}

TEST_F(AccessTimeTest, IsNoReasonToWriteUntilClosed) {
  const uint64_t size = FileSize();
  ASSERT_TRUE(volume().NoteAccess(Ino("f")));
  EXPECT_EQ(FileSize(), size);
}

TEST_F(AccessTimeTest, OfAnUnlinkedFileChangesToo) {
  auto handle = OpenFile("f", O_RDWR);
  const uint64_t ino = Ino("f");
  ASSERT_THAT(Unlink("f"), IsOk());
  const Timestamp now = PeekClock();
  EXPECT_TRUE(volume().NoteAccess(ino));
  EXPECT_TRUE(volume().GetAttributes(ino)->attributes.atime == now);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
}

TEST_F(AccessTimeTest, StaysAsOptionsSay) {
  options().access_times = AccessTimes::kNever;
  Reopen();
  EXPECT_FALSE(volume().NoteAccess(Ino("f")));
  options().access_times = AccessTimes::kRelative;
  options().directory_access_times = false;
  Reopen();
  EXPECT_FALSE(volume().NoteAccess(Ino("d")));
  EXPECT_TRUE(volume().NoteAccess(Ino("f")));
  options().access_times = AccessTimes::kAlways;
  options().directory_access_times = true;
  Reopen();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(volume().NoteAccess(Ino("f")));
    EXPECT_TRUE(volume().NoteAccess(Ino("d")));
  }
  Close();
  options().read_only = true;
  Open();
  EXPECT_FALSE(volume().NoteAccess(Ino("f")));
}

// Access times are not worth a commit each, but only so many are kept in
// memory.
TEST_F(VolumeAttributesTest, VeryManyAccessTimesAreCommitted) {
  options().sync_interval = absl::Milliseconds(10);
  options().access_times = AccessTimes::kAlways;
  Reopen();
  constexpr int kFiles = 6000;
  std::vector<uint64_t> inodes;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = absl::StrCat("d/", i);
    ASSERT_THAT(MakeDir(name), IsOk());
    inodes.push_back(Ino(name));
  }
  options().directory_access_times = true;
  Reopen();
  const uint64_t commits = volume().GetStatistics()->commits;
  for (const uint64_t ino : inodes) EXPECT_TRUE(volume().NoteAccess(ino));
  for (int i = 0; i < 500 && volume().GetStatistics()->commits < commits + 2;
       ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_GE(volume().GetStatistics()->commits, commits + 2);
}

}  // namespace
}  // namespace varve::fs
