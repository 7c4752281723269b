// Names: making, linking, renaming, removing, listing; and every error number.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <set>
#include <string>
#include <vector>

#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr Caller kCaller{.uid = 1000, .gid = 1000};
const char* const kBadNames[] = {"", "a/b", "/"};

class VolumeNamesTest : public VolumeTest {
 protected:
  uint32_t Nlink(absl::string_view path) { return GetStat(path)->nlink; }
};

TEST_F(VolumeNamesTest, CreateSurvivesACrash) {
  auto handle = CreateFile("f", O_RDWR);
  ASSERT_THAT(handle, IsOk());
  Abandon(*std::move(handle));
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Symlink("s", "some/where"), IsOk());
  const std::string before = Dump();
  Crash();
  EXPECT_EQ(Dump(), before);
  EXPECT_EQ(*Read("f"), "");
  EXPECT_EQ(*volume().ReadSymlink(Ino("s")), "some/where");
}

TEST_F(VolumeNamesTest, NodesOfAllTypesKeepModeAndDevice) {
  for (const uint32_t type : {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK}) {
    const std::string name = std::to_string(type);
    const auto stat =
        volume().MakeNode(kRootIno, name, type | 04640, 0x1234567, kCaller);
    ASSERT_THAT(stat, IsOk());
    EXPECT_EQ(stat->attributes.mode, type | 04640);
    EXPECT_EQ(stat->attributes.uid, 1000u);
    EXPECT_EQ(stat->attributes.rdev,
              type == S_IFCHR || type == S_IFBLK ? 0x1234567u : 0u);
    EXPECT_EQ(stat->nlink, 1u);
  }
  const std::string before = Dump();
  Crash();
  EXPECT_EQ(Dump(), before);
  Reopen();
  EXPECT_EQ(Dump(), before);
}

TEST_F(VolumeNamesTest, NodeOfAWrongTypeIsRefused) {
  EXPECT_THAT(volume().MakeNode(kRootIno, "x", S_IFDIR | 0755, 0, kCaller),
              HasErrno(EINVAL));
  EXPECT_THAT(volume().MakeNode(kRootIno, "x", S_IFLNK | 0755, 0, kCaller),
              HasErrno(EINVAL));
}

TEST_F(VolumeNamesTest, MakingFailsWithTheRightNumber) {
  ASSERT_THAT(Write("f", "x"), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  for (const std::string parent : {"", "d/"}) {
    EXPECT_THAT(MakeDir(parent + std::string(256, 'n')),
                HasErrno(ENAMETOOLONG));
    EXPECT_THAT(MakeDir(parent + "."), HasErrno(EEXIST));
    EXPECT_THAT(MakeDir(parent + ".."), HasErrno(EEXIST));
  }
  EXPECT_THAT(MakeDir("f"), HasErrno(EEXIST));
  EXPECT_THAT(MakeDir("d"), HasErrno(EEXIST));
  EXPECT_THAT(CreateFile("d", O_RDWR), HasErrno(EEXIST));
  EXPECT_THAT(MakeDir("f/x"), HasErrno(ENOTDIR));
  EXPECT_THAT(MakeDir("gone/x"), HasErrno(ENOENT));
  EXPECT_THAT(Symlink("s", ""), HasErrno(ENOENT));
  EXPECT_THAT(Symlink("s", std::string(4096, 't')), HasErrno(ENAMETOOLONG));
  EXPECT_THAT(MakeDir(".varve"), HasErrno(EPERM));
  EXPECT_THAT(MakeDir("d/.varve"), IsOk());
  for (const char* bad : kBadNames) {
    EXPECT_THAT(volume().MakeDirectory(kRootIno, bad, 0755, kCaller),
                HasErrno(EINVAL));
  }
  EXPECT_THAT(volume().MakeDirectory(kRootIno, absl::string_view("a\0b", 3),
                                     0755, kCaller),
              HasErrno(EINVAL));
}

TEST_F(VolumeNamesTest, LongestNamesAndTargetsAreKept) {
  const std::string name(255, '\xff');
  ASSERT_THAT(Write(name, "x"), IsOk());
  ASSERT_THAT(Symlink("s", std::string(4095, 't')), IsOk());
  Crash();
  EXPECT_EQ(*Read(name), "x");
  EXPECT_EQ(volume().ReadSymlink(Ino("s"))->size(), 4095u);
  EXPECT_EQ(GetStat("s")->attributes.size, 4095u);
}

TEST_F(VolumeNamesTest, LookupFailsWithTheRightNumber) {
  ASSERT_THAT(Write("f", "x"), IsOk());
  EXPECT_THAT(volume().Lookup(kRootIno, "gone"), HasErrno(ENOENT));
  EXPECT_THAT(volume().Lookup(Ino("f"), "x"), HasErrno(ENOTDIR));
  EXPECT_THAT(volume().Lookup(999, "x"), HasErrno(ENOENT));
  EXPECT_THAT(volume().Lookup(kRootIno, std::string(256, 'x')),
              HasErrno(ENAMETOOLONG));
}

TEST_F(VolumeNamesTest, NewNodesInASetGroupIdDirectoryGetItsGroup) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(volume().SetAttributes(Ino("d"), {.mode = 02775}, nullptr),
              IsOk());
  ASSERT_THAT(volume().SetAttributes(Ino("d"), {.gid = 77}, nullptr), IsOk());
  ASSERT_THAT(MakeDir("d/sub"), IsOk());
  ASSERT_THAT(Write("d/f", "x"), IsOk());
  EXPECT_EQ(GetStat("d/sub")->attributes.gid, 77u);
  EXPECT_EQ(GetStat("d/sub")->attributes.mode & 07777, 02755u);
  EXPECT_EQ(GetStat("d/f")->attributes.gid, 77u);
  EXPECT_EQ(GetStat("d/f")->attributes.mode & 07777, 0644u);
}

TEST_F(VolumeNamesTest, LinksShareOneInode) {
  ASSERT_THAT(Write("a", "text"), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Link("a", "d/b"), IsOk());
  ASSERT_THAT(Link("d/b", "c"), IsOk());
  EXPECT_EQ(Ino("a"), Ino("c"));
  EXPECT_EQ(Nlink("a"), 3u);
  ASSERT_THAT(WriteAt("c", 0, "TE"), IsOk());
  EXPECT_EQ(*Read("a"), "TExt");
  Crash();
  EXPECT_EQ(*Read("d/b"), "TExt");
  EXPECT_EQ(Nlink("d/b"), 3u);
  ASSERT_THAT(Unlink("a"), IsOk());
  EXPECT_EQ(*Read("d/b"), "TExt");
  EXPECT_EQ(Nlink("c"), 2u);
  Reopen();
  EXPECT_EQ(*Read("d/b"), "TExt");
  ASSERT_THAT(Unlink("d/b"), IsOk());
  ASSERT_THAT(Unlink("c"), IsOk());
  Reopen();
  EXPECT_THAT(List(""), ElementsAre("d"));
}

TEST_F(VolumeNamesTest, EachLinkCanBeRenamed) {
  for (const uint64_t size : {100ul, 200'000ul}) {
    const std::string text = Pattern(size, size);
    ASSERT_THAT(Write("a", text), IsOk());
    ASSERT_THAT(Link("a", "b"), IsOk());
    ASSERT_THAT(Rename("a", "a2"), IsOk());
    ASSERT_THAT(Rename("b", "b2"), IsOk());
    ASSERT_THAT(Rename("b2", "a2"), IsOk());  // of one inode: does nothing
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(*Read("a2") == text);
      EXPECT_TRUE(*Read("b2") == text);
      EXPECT_EQ(Nlink("a2"), 2u);
      i == 0 ? Crash() : Reopen();
    }
    ASSERT_THAT(WriteAt("b2", 0, "new"), IsOk());
    EXPECT_EQ(Read("a2")->substr(0, 3), "new");
    ASSERT_THAT(Unlink("a2"), IsOk());
    EXPECT_EQ(Read("b2")->substr(0, 3), "new");
    ASSERT_THAT(Unlink("b2"), IsOk());
  }
}

TEST_F(VolumeNamesTest, LinkFailsWithTheRightNumber) {
  ASSERT_THAT(Write("f", "x"), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  EXPECT_THAT(Link("d", "e"), HasErrno(EPERM));
  EXPECT_THAT(Link("gone", "e"), HasErrno(ENOENT));
  EXPECT_THAT(Link("f", "d"), HasErrno(EEXIST));
  EXPECT_THAT(Link("f", "f/x"), HasErrno(ENOTDIR));
  EXPECT_THAT(Link("f", ".varve"), HasErrno(EPERM));
  EXPECT_EQ(Nlink("f"), 1u);
}

TEST_F(VolumeNamesTest, TooManyLinksAreRefused) {
  ASSERT_THAT(Write("f", "x"), IsOk());
  for (int i = 1; i < 65'000; ++i) {
    ASSERT_THAT(Link("f", std::to_string(i)), IsOk());
  }
  EXPECT_THAT(Link("f", "one-more"), HasErrno(EMLINK));
  Reopen();
  EXPECT_EQ(Nlink("f"), 65'000u);
}

TEST_F(VolumeNamesTest, RemovingFailsWithTheRightNumber) {
  ASSERT_THAT(Write("f", "x"), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("d/e"), IsOk());
  EXPECT_THAT(Unlink("gone"), HasErrno(ENOENT));
  EXPECT_THAT(Unlink("d"), HasErrno(EISDIR));
  EXPECT_THAT(Unlink("f/x"), HasErrno(ENOTDIR));
  EXPECT_THAT(RemoveDir("gone"), HasErrno(ENOENT));
  EXPECT_THAT(RemoveDir("f"), HasErrno(ENOTDIR));
  EXPECT_THAT(RemoveDir("d"), HasErrno(ENOTEMPTY));
  EXPECT_THAT(RemoveDir("d/."), HasErrno(EINVAL));
  EXPECT_THAT(RemoveDir("d/.."), HasErrno(ENOTEMPTY));
  ASSERT_THAT(RemoveDir("d/e"), IsOk());
  ASSERT_THAT(RemoveDir("d"), IsOk());
}

TEST_F(VolumeNamesTest, DirectoriesCountTheirSubdirectories) {
  EXPECT_EQ(Nlink(""), 2u);
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("d/e"), IsOk());
  EXPECT_EQ(Nlink(""), 3u);
  EXPECT_EQ(Nlink("d"), 3u);
  ASSERT_THAT(Rename("d/e", "e"), IsOk());
  EXPECT_EQ(Nlink(""), 4u);
  EXPECT_EQ(Nlink("d"), 2u);
  Crash();
  EXPECT_EQ(Nlink(""), 4u);
  ASSERT_THAT(RemoveDir("e"), IsOk());
  EXPECT_EQ(Nlink(""), 3u);
}

TEST_F(VolumeNamesTest, RemovedDirectoryInUseTakesNoNewNames) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  const auto stat = volume().Lookup(kRootIno, "d");
  ASSERT_THAT(RemoveDir("d"), IsOk());
  EXPECT_EQ(volume().GetAttributes(stat->ino)->nlink, 0u);
  EXPECT_THAT(volume().MakeDirectory(stat->ino, "x", 0755, kCaller),
              HasErrno(ENOENT));
  ASSERT_THAT(Write("f", "x"), IsOk());
  EXPECT_THAT(volume().Rename(kRootIno, "f", stat->ino, "f", 0),
              HasErrno(ENOENT));
  EXPECT_THAT(volume().Link(Ino("f"), stat->ino, "f"), HasErrno(ENOENT));
  int seen = 0;
  EXPECT_THAT(volume().ReadDirectory(stat->ino, 0, false,
                                     [&](const Volume::Entry&) {
                                       ++seen;
                                       return true;
                                     }),
              IsOk());
  EXPECT_LE(seen, 2);
  volume().Forget(stat->ino, 1);
  EXPECT_THAT(volume().GetAttributes(stat->ino), HasErrno(ENOENT));
}

TEST_F(VolumeNamesTest, ForgottenInodesGoWhenNothingHoldsThem) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  const uint64_t ino = volume().Lookup(kRootIno, "f")->ino;
  volume().Lookup(kRootIno, "f").IgnoreError();
  auto handle = OpenFile("f", O_RDONLY);
  ASSERT_THAT(Unlink("f"), IsOk());
  volume().Forget(ino, 1);
  EXPECT_THAT(volume().GetAttributes(ino), IsOk());
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_THAT(volume().GetAttributes(ino), IsOk());
  // As the kernel knows the file, it can still be opened.
  handle = volume().Open(ino, O_RDONLY);
  ASSERT_THAT(handle, IsOk());
  EXPECT_EQ(ReadHandle(**handle), "text");
  volume().Forget(ino, 1);
  EXPECT_EQ(ReadHandle(**handle), "text");
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_THAT(volume().GetAttributes(ino), HasErrno(ENOENT));
}

TEST_F(VolumeNamesTest, ListingGoesOnWhereItStopped) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  std::set<std::string> expected = {".", ".."};
  for (int i = 0; i < 100; ++i) {
    const std::string name = std::to_string(i);
    ASSERT_THAT(Write("d/" + name, ""), IsOk());
    expected.insert(name);
  }
  std::multiset<std::string> seen;
  uint64_t cookie = 0;
  for (bool more = true; more;) {
    int count = 0;
    more = false;
    ASSERT_THAT(volume().ReadDirectory(Ino("d"), cookie, false,
                                       [&](const Volume::Entry& entry) {
                                         if (++count > 7) return !(more = true);
                                         seen.emplace(entry.name);
                                         cookie = entry.cookie;
                                         return true;
                                       }),
                IsOk());
    // Names that come and go do not disturb the others.
    if (seen.size() > 20) {
      Unlink("d/" + std::to_string(seen.size() % 10)).IgnoreError();
    }
  }
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(),
            seen.size());
  for (int i = 10; i < 100; ++i) EXPECT_EQ(seen.count(std::to_string(i)), 1u);
  EXPECT_EQ(seen.count("."), 1u);
}

TEST_F(VolumeNamesTest, ListingCountsReferencesOfWhatItTook) {
  ASSERT_THAT(Write("a", ""), IsOk());
  ASSERT_THAT(Write("b", ""), IsOk());
  std::vector<uint64_t> taken;
  ASSERT_THAT(volume().ReadDirectory(kRootIno, 0, true,
                                     [&](const Volume::Entry& entry) {
                                       if (entry.name == "b") return false;
                                       taken.push_back(entry.stat.ino);
                                       return true;
                                     }),
              IsOk());
  const uint64_t a = Ino("a");
  const uint64_t b = Ino("b");
  ASSERT_THAT(Unlink("a"), IsOk());
  ASSERT_THAT(Unlink("b"), IsOk());
  EXPECT_THAT(volume().GetAttributes(a), IsOk());
  EXPECT_THAT(volume().GetAttributes(b), HasErrno(ENOENT));
  volume().Forget(a, 1);
  EXPECT_THAT(volume().GetAttributes(a), HasErrno(ENOENT));
}

TEST_F(VolumeNamesTest, NamesWithOneHashAreTwoFiles) {
  const std::string a = CollidingName('A');
  const std::string b = CollidingName('B');
  ASSERT_EQ(HashKey(a), HashKey(b));
  ASSERT_THAT(Write(a, "text of a"), IsOk());
  ASSERT_THAT(Write(b, "bytes of b"), IsOk());
  const auto expect_both = [&] {
    EXPECT_EQ(*Read(a), "text of a");
    EXPECT_EQ(*Read(b), "bytes of b");
  };
  expect_both();
  Crash();
  expect_both();
  Reopen();
  expect_both();
  ASSERT_THAT(Write(a, "newer a"), IsOk());
  EXPECT_EQ(*Read(b), "bytes of b");
  ASSERT_THAT(Unlink(b), IsOk());
  EXPECT_EQ(*Read(a), "newer a");
  EXPECT_THAT(Read(b), HasErrno(ENOENT));
  Crash();
  EXPECT_EQ(*Read(a), "newer a");
  ASSERT_THAT(Rename(a, b), IsOk());
  EXPECT_EQ(*Read(b), "newer a");
  Reopen();
  EXPECT_EQ(*Read(b), "newer a");
  EXPECT_THAT(List(""), ElementsAre(b));
}

}  // namespace
}  // namespace varve::fs
