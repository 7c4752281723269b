// What DeletedFiles shows: names that are no more, as they were at the last
// moment that had them.

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "fs/history/deleted_tree.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class VolumeDeletedTest : public VolumeTest {
 protected:
  absl::Status Compact(CompactionOptions options) {
    VARVE_RETURN_IF_ERROR(volume().compactions().Start(options));
    return volume().compactions().WaitForEnd();
  }
  DeletedFiles& deleted() { return volume().deleted_files(); }

  absl::StatusOr<Stat> Find(absl::string_view path) {
    absl::StatusOr<Stat> found = deleted().GetAttributes(DeletedFiles::kRoot);
    for (const absl::string_view part :
         absl::StrSplit(path, '/', absl::SkipEmpty())) {
      if (!found.ok()) break;
      found = deleted().Lookup(found->ino, part);
    }
    return found;
  }
  // The content of each file, and "/" for each directory, by path; all of it is
  // listed and looked up.
  std::map<std::string, std::string> All() {
    std::map<std::string, std::string> all;
    std::vector<std::pair<std::string, uint64_t>> directories = {
        {"", DeletedFiles::kRoot}};
    while (!directories.empty()) {
      const auto [above, id] = directories.back();
      directories.pop_back();
      std::vector<std::pair<std::string, Stat>> listed;
      EXPECT_THAT(deleted().ReadDirectory(
                      id, Volume::kBehindDots,
                      [&](absl::string_view name, const Stat& stat, uint64_t) {
                        listed.emplace_back(absl::StrCat(above, name), stat);
                        return true;
                      }),
                  IsOk());
      for (const auto& [path, stat] : listed) {
        const auto found = Find(path);
        EXPECT_THAT(found, IsOk()) << path;
        if (found.ok()) {
          EXPECT_EQ(found->ino, stat.ino) << path;
        }
        if (S_ISDIR(stat.attributes.mode)) {
          all[path] = "/";
          directories.emplace_back(path + "/", stat.ino);
        } else {
          const auto reply = deleted().Read(stat.ino, 0, 1 << 20);
          EXPECT_THAT(reply, IsOk()) << path;
          all[path] = reply.ok() ? reply->ToString() : "?";
        }
      }
    }
    return all;
  }
};

TEST_F(VolumeDeletedTest, NothingIsDeletedAtFirst) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  EXPECT_THAT(All(), IsEmpty());
  EXPECT_THAT(Find("f"), HasErrno(ENOENT));
}

TEST_F(VolumeDeletedTest, WhatIsDeletedIsFoundAndGoesWhenItIsThereAgain) {
  ASSERT_THAT(Write("f", "one"), IsOk());
  ASSERT_THAT(Write("stays", "x"), IsOk());
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("f", "one")));
  const auto first = Find("f");
  ASSERT_THAT(first, IsOk());
  // While it is followed.
  ASSERT_THAT(Write("g", "two"), IsOk());
  ASSERT_THAT(Unlink("g"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("f", "one"), Pair("g", "two")));
  ASSERT_THAT(Write("f", "three"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("g", "two")));
  // It is not listed, but who copies it back can go on.
  EXPECT_EQ(deleted().Read(first->ino, 0, 10)->ToString(), "one");
  EXPECT_EQ(Find("f")->ino, first->ino);
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("f", "three"), Pair("g", "two")));
  EXPECT_NE(Find("f")->ino, first->ino);
  EXPECT_THAT(deleted().Read(first->ino, 0, 10), HasErrno(ESTALE));
}

TEST_F(VolumeDeletedTest, WhatReplacesAFileHidesItAndItsOwnFormerNameIsGone) {
  ASSERT_THAT(Write("f", "old"), IsOk());
  ASSERT_THAT(Write("f.tmp", "new"), IsOk());
  ASSERT_THAT(Rename("f.tmp", "f"), IsOk());
  ASSERT_THAT(WriteAt("f", 0, "NEW"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("f.tmp", "new")));
}

TEST_F(VolumeDeletedTest, ARenamedDirectoryIsThereWithAllThatItHad) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("d/e"), IsOk());
  ASSERT_THAT(Write("d/e/f", "one"), IsOk());
  ASSERT_THAT(Write("d/g", "two"), IsOk());
  ASSERT_THAT(Unlink("d/g"), IsOk());
  const std::map<std::string, std::string> gone = {
      {"d", "/"}, {"d/e", "/"}, {"d/e/f", "one"}, {"d/g", "two"}};
  ASSERT_THAT(Rename("d", "moved"), IsOk());
  EXPECT_EQ(All(), gone);
  // Another directory of the same name hides what it has itself.
  ASSERT_THAT(MakeDir("d"), IsOk());
  EXPECT_EQ(All(), gone);
  ASSERT_THAT(MakeDir("d/e"), IsOk());
  ASSERT_THAT(Write("d/g", "three"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("d", "/"), Pair("d/e", "/"),
                                 Pair("d/e/f", "one")));
  // And back again: everything exists, but what was in the other one does not.
  ASSERT_THAT(Rename("d", "other"), IsOk());
  ASSERT_THAT(Rename("moved", "d"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("d", "/"), Pair("d/g", "three"),
                                 Pair("moved", "/"), Pair("moved/e", "/"),
                                 Pair("moved/e/f", "one")));
}

TEST_F(VolumeDeletedTest, ExchangedDirectoriesLackWhatTheOtherHasNot) {
  for (const std::string name : {"a", "b"}) {
    ASSERT_THAT(MakeDir(name), IsOk());
    ASSERT_THAT(Write(name + "/both", "in " + name), IsOk());
    ASSERT_THAT(Write(name + "/" + name, "only"), IsOk());
  }
  ASSERT_THAT(Rename("a", "b", RENAME_EXCHANGE), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("a", "/"), Pair("a/a", "only"),
                                 Pair("b", "/"), Pair("b/b", "only")));
}

TEST_F(VolumeDeletedTest, AFileInThePlaceOfADirectory) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", "below"), IsOk());
  ASSERT_THAT(Unlink("d/f"), IsOk());
  ASSERT_THAT(RemoveDir("d"), IsOk());
  ASSERT_THAT(Write("d", "file"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("d", "/"), Pair("d/f", "below")));
  // A name leads to one thing, the newer one.
  ASSERT_THAT(Unlink("d"), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("d", "file")));
}

TEST_F(VolumeDeletedTest, AttributesAreThoseOfTheLastMoment) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", "text"), IsOk());
  ASSERT_THAT(Symlink("d/link", "target"), IsOk());
  ASSERT_THAT(volume().SetXattr(Ino("d/f"), "user.a", "value", 0), IsOk());
  ASSERT_THAT(
      volume().SetAttributes(Ino("d"), {.mode = 0700, .uid = 7}, nullptr),
      IsOk());
  const Stat before = *GetStat("d/f");
  ASSERT_THAT(Unlink("d/f"), IsOk());
  ASSERT_THAT(Unlink("d/link"), IsOk());
  const auto directory = Find("d");
  ASSERT_THAT(directory, IsOk());
  EXPECT_EQ(directory->attributes.mode, S_IFDIR | 0700u);
  EXPECT_EQ(directory->attributes.uid, 7u);
  ASSERT_THAT(RemoveDir("d"), IsOk());
  EXPECT_EQ(Find("d")->attributes.mode, S_IFDIR | 0700u);
  EXPECT_EQ(Find("d")->ino, directory->ino);
  const auto file = Find("d/f");
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->attributes.mtime, before.attributes.mtime);
  EXPECT_EQ(file->attributes.size, 4u);
  EXPECT_EQ(*deleted().GetXattr(file->ino, "user.a"), "value");
  EXPECT_THAT(deleted().GetXattr(file->ino, "user.b"), HasErrno(ENODATA));
  EXPECT_EQ(*deleted().ReadSymlink(Find("d/link")->ino), "target");
  EXPECT_THAT(deleted().ReadSymlink(file->ino), HasErrno(EINVAL));
  EXPECT_EQ(*deleted().Seek(file->ino, 0, SEEK_HOLE), 4u);
  EXPECT_THAT(Find("d/f/g"), HasErrno(ENOTDIR));
  EXPECT_EQ(deleted().Lookup(directory->ino, "..")->ino, DeletedFiles::kRoot);
}

TEST_F(VolumeDeletedTest, SnapshotsKeepNamesThatTheWindowHasNot) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/old", "old"), IsOk());
  ASSERT_THAT(Write("d/back", "back"), IsOk());
  ASSERT_THAT(MakeDir("moved"), IsOk());
  ASSERT_THAT(Write("moved/f", "in moved"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("a"), IsOk());
  ASSERT_THAT(Unlink("d/old"), IsOk());
  ASSERT_THAT(Unlink("d/back"), IsOk());
  ASSERT_THAT(Rename("moved", "here"), IsOk());
  ASSERT_THAT(Write("between", "x"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("b"), IsOk());
  ASSERT_THAT(Unlink("between"), IsOk());
  ASSERT_THAT(Write("d/back", "again"), IsOk());
  ASSERT_THAT(Write("never", "seen by a snapshot"), IsOk());
  ASSERT_THAT(Unlink("never"), IsOk());
  std::map<std::string, std::string> all = {
      {"between", "x"},        {"d", "/"},
      {"d/old", "old"},        {"moved", "/"},
      {"moved/f", "in moved"}, {"never", "seen by a snapshot"}};
  EXPECT_EQ(All(), all);
  const uint64_t directory = Find("d")->ino;
  for (const bool punch : {false, true, false}) {
    ASSERT_THAT(Compact({.punch = punch, .forget = true}), IsOk());
    all.erase("never");
    EXPECT_EQ(All(), all);
    EXPECT_EQ(Find("d")->ino, directory);
  }
  Reopen();
  EXPECT_EQ(All(), all);
  ASSERT_THAT(volume().history().DeleteSnapshot("a"), IsOk());
  ASSERT_THAT(Compact({.forget = true}), IsOk());
  EXPECT_THAT(All(), ElementsAre(Pair("between", "x")));
  ASSERT_THAT(volume().history().DeleteSnapshot("b"), IsOk());
  ASSERT_THAT(Compact({.forget = true}), IsOk());
  EXPECT_THAT(All(), IsEmpty());
}

TEST_F(VolumeDeletedTest, CheckpointsAndCompactionsInBetweenChangeNothing) {
  std::map<std::string, std::string> all;
  for (int i = 0; i < 6; ++i) {
    const std::string name = absl::StrCat("f", i);
    ASSERT_THAT(MakeDir(absl::StrCat("d", i)), IsOk());
    ASSERT_THAT(Write(absl::StrCat("d", i, "/in"), name), IsOk());
    ASSERT_THAT(Write(name, Pattern(i, 100'000)), IsOk());
    if (i % 2 == 0) {
      EXPECT_EQ(All(), all);
    }
    if (i % 3 == 1) Reopen();  // writes a checkpoint
    ASSERT_THAT(Unlink(name), IsOk());
    ASSERT_THAT(Rename(absl::StrCat("d", i), absl::StrCat("e", i)), IsOk());
    all[name] = Pattern(i, 100'000);
    all[absl::StrCat("d", i)] = "/";
    all[absl::StrCat("d", i, "/in")] = name;
    const auto before = Find(name);
    ASSERT_THAT(before, IsOk());
    if (i % 3 == 0) {
      ASSERT_THAT(Compact({.punch = i == 3}), IsOk());
      // Who reads it goes on.
      EXPECT_EQ(deleted().Read(before->ino, 0, 1 << 20)->ToString(), all[name]);
    }
    EXPECT_EQ(All(), all);
  }
  Crash();
  EXPECT_EQ(All(), all);
}

TEST_F(VolumeDeletedTest, TheOldestNamesGoIfThereAreTooMany) {
  constexpr int kFiles = 40;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_THAT(Write(absl::StrCat("f", i), "text"), IsOk());
  }
  volume().WithTree([&](const TreeReader& tree) {
    DeletedTree names(/*most_bytes=*/8192);
    for (int i = 0; i < kFiles; ++i) {
      const std::string path = absl::StrCat("f", i);
      ASSERT_THAT(names.Add(path, tree, **tree.Resolve(path), 100 + i, false),
                  IsOk());
      names.Trim();
      EXPECT_LE(names.memory(), 8192u);
    }
    // The newest are left.
    int left = 0;
    for (int i = 0; i < kFiles; ++i) {
      const auto found =
          names.FindIn(DeletedTree::kRoot, absl::StrCat("f", i), tree);
      ASSERT_THAT(found, IsOk());
      EXPECT_TRUE(found->has_value() || left == 0) << i;
      if (found->has_value()) ++left;
    }
    EXPECT_GT(left, 0);
    EXPECT_LT(left, kFiles);
  });
}

}  // namespace
}  // namespace varve::fs
