// Extended attributes and access control lists.

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <string>
#include <utility>

#include "fs/format/acl.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

class VolumeXattrsTest : public VolumeTest {
 protected:
  void SetUp() override {
    Open();
    ASSERT_THAT(Write("f", "0123456789"), IsOk());
    ASSERT_THAT(MakeDir("d"), IsOk());
  }
};

TEST_F(VolumeXattrsTest, ExtendedAttributesAreKept) {
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

TEST_F(VolumeXattrsTest, ExtendedAttributesFailWithTheRightNumber) {
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
  EXPECT_THAT(v.SetXattr(ino, "user.", "1", 0), HasErrno(EINVAL));
  EXPECT_THAT(v.GetXattr(ino, "trusted."), HasErrno(EINVAL));
  for (const char* other : {"system.other", "mine", "os2.a", "userx.a"}) {
    EXPECT_THAT(v.SetXattr(ino, other, "x", 0), HasErrno(EOPNOTSUPP));
    EXPECT_THAT(v.GetXattr(ino, other), HasErrno(EOPNOTSUPP));
    EXPECT_THAT(v.RemoveXattr(ino, other), HasErrno(EOPNOTSUPP));
  }
  EXPECT_EQ(*v.ListXattrs(ino), std::string("user.a\0", 7));
}

TEST_F(VolumeXattrsTest, NameOfAnExtendedAttributeHasNoNul) {
  EXPECT_FALSE(volume()
                   .SetXattr(Ino("f"), absl::string_view("user.\0a", 7), "1", 0)
                   .ok());
  ASSERT_THAT(Write("g", "still works"), IsOk());
  Crash();
  EXPECT_EQ(*Read("g"), "still works");
}

TEST_F(VolumeXattrsTest, ListOfExtendedAttributesHasALimit) {
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

TEST_F(VolumeXattrsTest, TheSameValueIsNoChange) {
  ASSERT_THAT(volume().SetXattr(Ino("f"), "user.a", "v", 0), IsOk());
  const uint64_t size = FileSize();
  const Timestamp ctime = GetStat("f")->attributes.ctime;
  ASSERT_THAT(volume().SetXattr(Ino("f"), "user.a", "v", 0), IsOk());
  EXPECT_EQ(FileSize(), size);
  EXPECT_TRUE(GetStat("f")->attributes.ctime == ctime);
}

TEST_F(VolumeXattrsTest, TrustedOnesAreListedToWhoIsTrusted) {
  const uint64_t ino = Ino("f");
  ASSERT_THAT(volume().SetXattr(ino, "trusted.a", "1", 0), IsOk());
  ASSERT_THAT(volume().SetXattr(ino, "user.a", "1", 0), IsOk());
  EXPECT_EQ(*volume().ListXattrs(ino, /*trusted=*/false),
            std::string("user.a\0", 7));
}

TEST_F(VolumeXattrsTest, AnUnlinkedFileHasThemUntilItIsClosed) {
  ASSERT_THAT(volume().SetXattr(Ino("f"), "user.a", "1", 0), IsOk());
  auto handle = OpenFile("f", O_RDWR);
  const uint64_t ino = Ino("f");
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_THAT(volume().SetXattr(ino, "user.b", "2", XATTR_CREATE), IsOk());
  EXPECT_THAT(volume().SetXattr(ino, "user.b", "3", XATTR_CREATE),
              HasErrno(EEXIST));
  EXPECT_THAT(volume().RemoveXattr(ino, "user.a"), IsOk());
  EXPECT_THAT(volume().GetXattr(ino, "user.a"), HasErrno(ENODATA));
  EXPECT_EQ(*volume().GetXattr(ino, "user.b"), "2");
  EXPECT_EQ(*volume().ListXattrs(ino), std::string("user.b\0", 7));
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  Crash();
  EXPECT_EQ(Ino("f"), 0u);
}

// --- Access control lists ---

// The attribute's value: for the owner, a user, the group, the mask, others.
std::string AclOf(uint16_t owner, uint16_t user, uint16_t group, uint16_t mask,
                  uint16_t other) {
  std::string value("\2\0\0\0", 4);
  const auto add = [&value](char tag, uint16_t permissions, char id) {
    value += {tag, 0, static_cast<char>(permissions), 0, id, id, id, id};
  };
  add(1, owner, -1);
  add(2, user, 7);
  add(4, group, -1);
  add(16, mask, -1);
  add(32, other, -1);
  return value;
}

class VolumeAclTest : public VolumeXattrsTest {
 protected:
  uint32_t Mode(absl::string_view path) {
    return GetStat(path)->attributes.mode & 07777;
  }
  absl::Status Set(absl::string_view path, absl::string_view name,
                   absl::string_view value, bool drop_set_group_id = false) {
    return volume().SetXattr(Ino(path), name, value, 0, drop_set_group_id);
  }
};

TEST_F(VolumeAclTest, AccessListSetsTheMode) {
  ASSERT_THAT(volume().SetAttributes(Ino("f"), {.mode = 06644}, nullptr),
              IsOk());
  const std::string acl = AclOf(7, 6, 5, 4, 1);
  ASSERT_THAT(Set("f", kAccessAclName, acl), IsOk());
  EXPECT_EQ(Mode("f"), 06741u);
  EXPECT_TRUE(*volume().GetXattr(Ino("f"), kAccessAclName) == acl);
  Crash();
  EXPECT_EQ(Mode("f"), 06741u);
  EXPECT_TRUE(*volume().GetXattr(Ino("f"), kAccessAclName) == acl);
  ASSERT_THAT(Set("f", kAccessAclName, AclOf(7, 6, 5, 5, 1), true), IsOk());
  EXPECT_EQ(Mode("f"), 04751u);
  ASSERT_THAT(volume().RemoveXattr(Ino("f"), kAccessAclName), IsOk());
  EXPECT_EQ(Mode("f"), 04751u);
  EXPECT_THAT(volume().RemoveXattr(Ino("f"), kAccessAclName), IsOk());
  EXPECT_THAT(volume().GetXattr(Ino("f"), kAccessAclName), HasErrno(ENODATA));
}

TEST_F(VolumeAclTest, AListThatIsJustAModeIsNotKept) {
  std::string value("\2\0\0\0", 4);
  for (const auto& [tag, permissions] : {std::pair(1, 6), {4, 2}, {32, 1}}) {
    value += {static_cast<char>(tag),
              0,
              static_cast<char>(permissions),
              0,
              -1,
              -1,
              -1,
              -1};
  }
  ASSERT_THAT(Set("f", kAccessAclName, AclOf(7, 6, 5, 4, 1)), IsOk());
  ASSERT_THAT(Set("f", kAccessAclName, value), IsOk());
  EXPECT_EQ(Mode("f"), 0621u);
  EXPECT_THAT(volume().GetXattr(Ino("f"), kAccessAclName), HasErrno(ENODATA));
}

TEST_F(VolumeAclTest, ChmodChangesTheList) {
  ASSERT_THAT(Set("f", kAccessAclName, AclOf(7, 6, 5, 7, 1)), IsOk());
  ASSERT_THAT(volume().SetAttributes(Ino("f"), {.mode = 0640}, nullptr),
              IsOk());
  EXPECT_TRUE(*volume().GetXattr(Ino("f"), kAccessAclName) ==
              AclOf(6, 6, 5, 4, 0));
}

TEST_F(VolumeAclTest, DefaultListIsInheritedAndUmaskIsNot) {
  constexpr Caller kUmask{.uid = 5, .gid = 5, .umask = 077};
  const std::string acl = AclOf(7, 6, 5, 7, 5);
  ASSERT_THAT(Set("d", kDefaultAclName, acl), IsOk());
  EXPECT_EQ(Mode("d"), 0755u);
  const uint64_t d = Ino("d");
  Volume& v = volume();
  ASSERT_THAT(v.MakeDirectory(d, "sub", 0777, kUmask), IsOk());
  EXPECT_EQ(Mode("d/sub"), 0775u);
  EXPECT_TRUE(*v.GetXattr(Ino("d/sub"), kDefaultAclName) == acl);
  EXPECT_TRUE(*v.GetXattr(Ino("d/sub"), kAccessAclName) == acl);
  ASSERT_THAT(v.MakeNode(d, "pipe", S_IFIFO | 0666, 0, kUmask), IsOk());
  EXPECT_EQ(Mode("d/pipe"), 0664u);
  EXPECT_TRUE(*v.GetXattr(Ino("d/pipe"), kAccessAclName) ==
              AclOf(6, 6, 5, 6, 4));
  EXPECT_THAT(v.GetXattr(Ino("d/pipe"), kDefaultAclName), HasErrno(ENODATA));
  ASSERT_THAT(v.MakeSymlink(d, "link", "x", kUmask), IsOk());
  EXPECT_THAT(v.GetXattr(Ino("d/link"), kAccessAclName), HasErrno(ENODATA));
  ASSERT_THAT(v.MakeDirectory(1, "e", 0777, kUmask), IsOk());
  EXPECT_EQ(Mode("e"), 0700u);
  Crash();
  EXPECT_EQ(Mode("d/sub"), 0775u);
  EXPECT_EQ(Mode("d/pipe"), 0664u);
}

TEST_F(VolumeAclTest, WhatIsNoListIsRefused) {
  EXPECT_THAT(Set("f", kAccessAclName, "nonsense"), HasErrno(EINVAL));
  EXPECT_THAT(Set("d", kDefaultAclName, ""), HasErrno(EINVAL));
  EXPECT_THAT(Set("f", kDefaultAclName, AclOf(7, 6, 5, 7, 5)),
              HasErrno(EACCES));
  ASSERT_THAT(Symlink("l", "f"), IsOk());
  EXPECT_THAT(Set("l", kAccessAclName, AclOf(7, 6, 5, 7, 5)),
              HasErrno(EOPNOTSUPP));
}

}  // namespace
}  // namespace varve::fs
