// Attributes, times, extended attributes.

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <string>

#include "fs/volume_test_util.h"

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
  // The time that a change made by `change` has to bear.
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

TEST_F(VolumeAttributesTest, ExtendedAttributesAreKept) {
  const std::string big(65536, 'v');
  for (const char* path : {"f", "d", ""}) {
    const uint64_t ino = Ino(path);
    ASSERT_THAT(volume().SetXattr(ino, "user.b", big, 0), IsOk());
    ASSERT_THAT(volume().SetXattr(ino, "user.a", std::string(1, '\0'), 0),
                IsOk());
    ASSERT_THAT(volume().SetXattr(ino, "trusted.empty", "", 0), IsOk());
  }
  for (int i = 0; i < 3; ++i) {
    for (const char* path : {"f", "d", ""}) {
      EXPECT_TRUE(*volume().GetXattr(Ino(path), "user.b") == big);
      EXPECT_EQ(*volume().GetXattr(Ino(path), "user.a"), std::string(1, '\0'));
      EXPECT_EQ(*volume().GetXattr(Ino(path), "trusted.empty"), "");
      EXPECT_EQ(*volume().ListXattrs(Ino(path)),
                std::string("trusted.empty\0user.a\0user.b\0", 28));
    }
    EXPECT_EQ(*Read("f"), "0123456789");
    i == 0 ? Crash() : Reopen();
  }
  ASSERT_THAT(volume().RemoveXattr(Ino("f"), "user.b"), IsOk());
  ASSERT_THAT(Write("f", "rewritten"), IsOk());
  Crash();
  EXPECT_EQ(*volume().ListXattrs(Ino("f")),
            std::string("trusted.empty\0user.a\0", 21));
}

TEST_F(VolumeAttributesTest, ExtendedAttributesFailWithTheRightNumber) {
  const uint64_t ino = Ino("f");
  Volume& v = volume();
  EXPECT_THAT(v.GetXattr(ino, "user.a"), HasErrno(ENODATA));
  EXPECT_THAT(v.RemoveXattr(ino, "user.a"), HasErrno(ENODATA));
  EXPECT_THAT(v.SetXattr(ino, "user.a", "1", XATTR_REPLACE), HasErrno(ENODATA));
  EXPECT_THAT(v.SetXattr(ino, "user.a", "1", XATTR_CREATE), IsOk());
  EXPECT_THAT(v.SetXattr(ino, "user.a", "2", XATTR_CREATE), HasErrno(EEXIST));
  EXPECT_THAT(v.SetXattr(ino, "user.a", "3", XATTR_REPLACE), IsOk());
  EXPECT_EQ(*v.GetXattr(ino, "user.a"), "3");
  EXPECT_THAT(v.SetXattr(ino, "", "1", 0), HasErrno(ERANGE));
  EXPECT_THAT(v.SetXattr(ino, std::string(256, 'n'), "1", 0), HasErrno(ERANGE));
  EXPECT_THAT(v.SetXattr(ino, "user.b", std::string(65537, 'v'), 0),
              HasErrno(E2BIG));
  EXPECT_THAT(v.SetXattr(ino, "system.posix_acl_access", "x", 0),
              HasErrno(EOPNOTSUPP));
  EXPECT_THAT(v.GetXattr(ino, "system.posix_acl_access"), HasErrno(EOPNOTSUPP));
  EXPECT_EQ(*v.ListXattrs(ino), std::string("user.a\0", 7));
}

TEST_F(VolumeAttributesTest, NameOfAnExtendedAttributeHasNoNul) {
  EXPECT_FALSE(volume()
                   .SetXattr(Ino("f"), absl::string_view("user.\0a", 7), "1", 0)
                   .ok());
  ASSERT_THAT(Write("g", "still works"), IsOk());
  Crash();
  EXPECT_EQ(*Read("g"), "still works");
}

TEST_F(VolumeAttributesTest, ListOfExtendedAttributesHasALimit) {
  const uint64_t ino = Ino("f");
  absl::Status status;
  int count = 0;
  for (; count < 1000 && status.ok(); ++count) {
    status = volume().SetXattr(
        ino, "user." + std::to_string(1000 + count) + std::string(200, 'n'), "",
        0);
  }
  EXPECT_THAT(status, HasErrno(ENOSPC));
  EXPECT_LE(volume().ListXattrs(ino)->size(), 65536u);
}

}  // namespace
}  // namespace varve::fs
