#include "fs/tree/tree.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Timestamp kTime = Timestamp::FromPacked(1'000'000);
constexpr Timestamp kLater = Timestamp::FromPacked(2'000'000);

class TreeTest : public testing::Test {
 protected:
  // Each change is a commit of its own.
  absl::Status Apply(const Change& change,
                     std::optional<Timestamp> time = kTime) {
    tree_.BeginCommit();
    return tree_.Apply(change, time);
  }
  absl::Status Put(uint64_t ino, uint32_t mode, uint64_t size = 0) {
    return Apply(
        PutInode{.ino = ino, .attributes = {.mode = mode, .size = size}});
  }
  absl::Status PutFile(uint64_t ino, uint64_t size = 0) {
    return Put(ino, S_IFREG | 0644, size);
  }
  absl::Status PutDir(uint64_t ino) { return Put(ino, S_IFDIR | 0755); }
  absl::Status Name(uint64_t parent, absl::string_view name, uint64_t ino) {
    return Apply(PutName{.parent = parent, .ino = ino, .name = name});
  }
  absl::Status Unname(uint64_t parent, absl::string_view name) {
    return Apply(DropName{.parent = parent, .name = name});
  }
  // A change that fails must report damage and change nothing.
  void ExpectRefused(const Change& change) {
    const uint64_t names = tree_.name_count();
    const uint64_t inodes = tree_.inode_count();
    EXPECT_THAT(Apply(change, kLater), HasCode(StatusCode::kDataLoss));
    EXPECT_EQ(tree_.name_count(), names);
    EXPECT_EQ(tree_.inode_count(), inodes);
  }
  std::vector<std::string> List(uint64_t ino) {
    std::vector<std::string> names;
    const Directory& directory = tree_.Find(ino)->directory();
    directory.ForEachAfter(0, [&names](const struct Name& name) {
      names.emplace_back(name.text());
      return true;
    });
    return names;
  }
  const Attributes& Get(uint64_t ino) { return tree_.Find(ino)->attributes; }
  static Extent Whole(uint64_t length, uint64_t at) {
    return {.file_offset = 0,
            .length = length,
            .store_offset = at,
            .key_hash = 7,
            .entry_offset = 0,
            .entry_size = length,
            .entry_crc32 = 5};
  }

  Tree tree_;
};

TEST_F(TreeTest, BeginsWithARoot) {
  ASSERT_NE(tree_.root(), nullptr);
  EXPECT_TRUE(tree_.root()->is_root());
  EXPECT_TRUE(tree_.root()->is_directory());
  EXPECT_EQ(tree_.root()->parent(), tree_.root());
  EXPECT_EQ(tree_.root()->nlink(), 2u);
  EXPECT_EQ(tree_.inode_count(), 1u);
  EXPECT_EQ(tree_.Resolve(""), tree_.root());
  EXPECT_EQ(Tree::PathOf(*tree_.root()), "");
}

TEST_F(TreeTest, PathsLeadToInodesAndBack) {
  ASSERT_THAT(PutDir(2), IsOk());
  ASSERT_THAT(Name(1, "a", 2), IsOk());
  ASSERT_THAT(PutDir(3), IsOk());
  ASSERT_THAT(Name(2, "bb", 3), IsOk());
  ASSERT_THAT(PutFile(4), IsOk());
  ASSERT_THAT(Name(3, "ccc", 4), IsOk());
  EXPECT_EQ(tree_.Resolve("a/bb/ccc"), tree_.Find(4));
  EXPECT_EQ(Tree::PathOf(*tree_.Find(4)), "a/bb/ccc");
  EXPECT_EQ(Tree::PathOf(*tree_.Find(2)), "a");
  EXPECT_EQ(tree_.Resolve("a/bb/ccc/d"), nullptr);
  EXPECT_EQ(tree_.Resolve("a/b"), nullptr);
  EXPECT_EQ(tree_.Resolve("a//bb"), nullptr);
  EXPECT_EQ(tree_.Find(4)->parent(), tree_.Find(3));
  EXPECT_TRUE(Tree::IsWithin(*tree_.Find(4), *tree_.Find(2)));
  EXPECT_TRUE(Tree::IsWithin(*tree_.Find(3), *tree_.Find(3)));
  EXPECT_FALSE(Tree::IsWithin(*tree_.Find(2), *tree_.Find(3)));
}

TEST_F(TreeTest, NamesSetTimes) {
  ASSERT_THAT(PutFile(2), IsOk());
  ASSERT_THAT(Apply(PutName{.parent = 1, .ino = 2, .name = "a"}, kLater),
              IsOk());
  EXPECT_EQ(Get(1).mtime, kLater);
  EXPECT_EQ(Get(1).ctime, kLater);
  EXPECT_EQ(Get(2).ctime, kLater);
  EXPECT_EQ(Get(2).mtime, Timestamp());
  EXPECT_EQ(Get(1).atime, Timestamp());
  ASSERT_THAT(Apply(DropName{.parent = 1, .name = "a"}, kTime), IsOk());
  EXPECT_EQ(Get(1).mtime, kTime);
  EXPECT_EQ(Get(2).ctime, kTime);
}

TEST_F(TreeTest, NamesOfACheckpointSetNoTimes) {
  ASSERT_THAT(PutFile(2), IsOk());
  ASSERT_THAT(Apply(PutName{.parent = 1, .ino = 2, .name = "a"}, std::nullopt),
              IsOk());
  EXPECT_EQ(Get(1).mtime, Timestamp());
  EXPECT_EQ(Get(2).ctime, Timestamp());
}

TEST_F(TreeTest, LinksAreCounted) {
  ASSERT_THAT(PutFile(2), IsOk());
  EXPECT_EQ(tree_.Find(2)->nlink(), 0u);
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_THAT(Name(1, name, 2), IsOk());
  }
  EXPECT_EQ(tree_.Find(2)->nlink(), 3u);
  EXPECT_EQ(Tree::PathOf(*tree_.Find(2)), "a");
  ASSERT_THAT(Unname(1, "b"), IsOk());
  ASSERT_THAT(Unname(1, "a"), IsOk());
  EXPECT_EQ(tree_.Find(2)->nlink(), 1u);
  EXPECT_EQ(Tree::PathOf(*tree_.Find(2)), "c");
  ASSERT_THAT(PutDir(3), IsOk());
  ASSERT_THAT(Name(1, "d", 3), IsOk());
  EXPECT_EQ(tree_.root()->nlink(), 3u);
  EXPECT_EQ(tree_.Find(3)->nlink(), 2u);
  ASSERT_THAT(Unname(1, "d"), IsOk());
  EXPECT_EQ(tree_.root()->nlink(), 2u);
}

TEST_F(TreeTest, ContradictionsAreRefused) {
  ASSERT_THAT(PutFile(2), IsOk());
  ASSERT_THAT(Name(1, "f", 2), IsOk());
  ExpectRefused(PutName{.parent = 1, .ino = 2, .name = "f"});
  ExpectRefused(PutName{.parent = 1, .ino = 9, .name = "g"});
  ExpectRefused(PutName{.parent = 9, .ino = 2, .name = "g"});
  ExpectRefused(PutName{.parent = 2, .ino = 2, .name = "g"});
  ExpectRefused(DropName{.parent = 1, .name = "g"});
  ExpectRefused(DropName{.parent = 2, .name = "g"});
  ExpectRefused(DropName{.parent = 9, .name = "g"});
  ExpectRefused(DropInode{.ino = 9});
  ExpectRefused(SetContent{.ino = 9, .extents = {Extent::Hole(0, 1)}});
  ExpectRefused(SetContent{.ino = 1, .extents = {Extent::Hole(0, 1)}});
  ExpectRefused(PatchContent{.ino = 9, .extents = {Extent::Hole(0, 1)}});
  ExpectRefused(SetXattr{.ino = 9, .name = "a"});
  ExpectRefused(DropXattr{.ino = 2, .name = "a"});
  ExpectRefused(PutInode{.ino = 2, .attributes = {.mode = S_IFDIR | 0755}});
  EXPECT_EQ(Get(1).mtime, kTime);
}

TEST_F(TreeTest, InodesInUseCannotBeDropped) {
  ASSERT_THAT(PutDir(2), IsOk());
  ASSERT_THAT(Name(1, "d", 2), IsOk());
  ASSERT_THAT(PutFile(3), IsOk());
  ASSERT_THAT(Name(2, "f", 3), IsOk());
  ExpectRefused(DropInode{.ino = 1});
  ExpectRefused(DropInode{.ino = 2});
  ExpectRefused(DropInode{.ino = 3});
  // A directory that has no name, but has a name in it.
  ASSERT_THAT(Unname(1, "d"), IsOk());
  ExpectRefused(DropInode{.ino = 2});
  ASSERT_THAT(Unname(2, "f"), IsOk());
  EXPECT_THAT(Apply(DropInode{.ino = 3}), IsOk());
  EXPECT_THAT(Apply(DropInode{.ino = 2}), IsOk());
  EXPECT_EQ(tree_.inode_count(), 1u);
}

TEST_F(TreeTest, DirectoriesHaveOnePlaceAndNoCycle) {
  for (uint64_t ino = 2; ino < 6; ++ino) ASSERT_THAT(PutDir(ino), IsOk());
  ASSERT_THAT(Name(1, "a", 2), IsOk());
  ASSERT_THAT(Name(2, "b", 3), IsOk());
  ASSERT_THAT(Name(3, "c", 4), IsOk());
  ExpectRefused(PutName{.parent = 1, .ino = 2, .name = "second"});
  ExpectRefused(PutName{.parent = 2, .ino = 1, .name = "root"});
  ExpectRefused(PutName{.parent = 5, .ino = 5, .name = "self"});
  // Taken out of the tree and put below itself.
  ASSERT_THAT(Unname(1, "a"), IsOk());
  ExpectRefused(PutName{.parent = 4, .ino = 2, .name = "cycle"});
  ExpectRefused(PutName{.parent = 3, .ino = 2, .name = "cycle"});
  ExpectRefused(PutName{.parent = 2, .ino = 2, .name = "cycle"});
  ASSERT_THAT(Name(1, "a", 2), IsOk());
}

TEST_F(TreeTest, CyclesAreFoundAfterwardsWhereEachChangeIsNotLookedAt) {
  for (uint64_t ino = 2; ino < 7; ++ino) ASSERT_THAT(PutDir(ino), IsOk());
  ASSERT_THAT(Name(1, "a", 2), IsOk());
  ASSERT_THAT(Name(2, "b", 3), IsOk());
  ASSERT_THAT(Name(3, "c", 4), IsOk());
  ASSERT_THAT(Name(1, "d", 5), IsOk());
  ASSERT_THAT(Name(4, "e", 6), IsOk());
  tree_.DeferCycleCheck();
  ASSERT_THAT(Unname(2, "b"), IsOk());
  ASSERT_THAT(Name(5, "b", 3), IsOk());
  EXPECT_THAT(tree_.EndCycleCheck(), IsOk());
  // From now on, each change is checked again.
  ASSERT_THAT(Unname(5, "b"), IsOk());
  ExpectRefused(PutName{.parent = 4, .ino = 3, .name = "cycle"});
  tree_.DeferCycleCheck();
  ASSERT_THAT(Name(4, "cycle", 3), IsOk());
  EXPECT_THAT(tree_.EndCycleCheck(), HasCode(absl::StatusCode::kDataLoss));
}

// Empty directories without names that would come to hold each other.
TEST_F(TreeTest, DetachedDirectoriesCannotFormACycle) {
  ASSERT_THAT(PutDir(2), IsOk());
  ASSERT_THAT(PutDir(3), IsOk());
  ASSERT_THAT(Name(2, "b", 3), IsOk());
  ExpectRefused(PutName{.parent = 3, .ino = 2, .name = "a"});
  EXPECT_EQ(tree_.CheckConsistency().size(), 1u);
}

TEST_F(TreeTest, InodesWithoutANameAreReported) {
  EXPECT_THAT(tree_.CheckConsistency(), IsEmpty());
  ASSERT_THAT(PutFile(7), IsOk());
  EXPECT_THAT(tree_.CheckConsistency(),
              ElementsAre(testing::HasSubstr("inode 7")));
}

TEST_F(TreeTest, WholeEntryIsKeptWithoutExtents) {
  ASSERT_THAT(PutFile(2, 500), IsOk());
  ASSERT_THAT(Apply(SetContent{.ino = 2, .extents = {Whole(500, 64)}}), IsOk());
  const Inode& inode = *tree_.Find(2);
  EXPECT_EQ(inode.whole_entry, 64u);
  EXPECT_EQ(inode.whole_entry_hash, 7u);
  EXPECT_EQ(inode.detail, nullptr);
  EXPECT_EQ(inode.WholeExtent(), Whole(500, 64));
  EXPECT_EQ(Tree::ContentOf(inode).data_bytes(), 500u);
}

TEST_F(TreeTest, PatchTurnsAWholeEntryIntoExtents) {
  ASSERT_THAT(PutFile(2, 500), IsOk());
  ASSERT_THAT(Apply(SetContent{.ino = 2, .extents = {Whole(500, 64)}}), IsOk());
  Extent patch = Whole(10, 4096);
  patch.file_offset = 100;
  ASSERT_THAT(Apply(PatchContent{.ino = 2, .extents = {patch}}), IsOk());
  const Inode& inode = *tree_.Find(2);
  EXPECT_EQ(inode.whole_entry, Inode::kNone);
  ASSERT_NE(inode.detail, nullptr);
  EXPECT_EQ(inode.detail->patched, 10u);
  EXPECT_THAT(inode.detail->extents.Cover(0, 500),
              ElementsAre(Whole(500, 64).Slice(0, 100), patch,
                          Whole(500, 64).Slice(110, 500)));
  // Setting the content makes the file whole again.
  ASSERT_THAT(Apply(SetContent{.ino = 2, .extents = {Whole(500, 128)}}),
              IsOk());
  EXPECT_EQ(inode.whole_entry, 128u);
  EXPECT_EQ(Tree::ContentOf(inode).extents().size(), 1u);
}

TEST_F(TreeTest, WhatIsNotAllOfOneEntryIsNotWhole) {
  ASSERT_THAT(PutFile(2, 500), IsOk());
  Extent shared = Whole(500, 64);
  shared.shared = true;
  Extent part = Whole(500, 64);
  part.entry_size = 501;
  Extent moved = Whole(500, 64);
  moved.file_offset = 1;
  for (const Extent& extent : {shared, part, moved, Whole(499, 64)}) {
    ASSERT_THAT(Apply(SetContent{.ino = 2, .extents = {extent}}), IsOk());
    EXPECT_EQ(tree_.Find(2)->whole_entry, Inode::kNone);
    EXPECT_EQ(Tree::ContentOf(*tree_.Find(2)).extents().size(), 1u);
  }
}

TEST_F(TreeTest, SmallerSizeForgetsTheContentBehindIt) {
  ASSERT_THAT(PutFile(2, 500), IsOk());
  ASSERT_THAT(Apply(SetContent{.ino = 2, .extents = {Whole(500, 64)}}), IsOk());
  ASSERT_THAT(PutFile(2, 100), IsOk());
  ASSERT_THAT(PutFile(2, 500), IsOk());
  EXPECT_THAT(
      Tree::ContentOf(*tree_.Find(2)).Cover(0, 500),
      ElementsAre(Whole(500, 64).Slice(0, 100), Extent::Hole(100, 400)));
}

TEST_F(TreeTest, ContentBytesAreCounted) {
  ASSERT_THAT(PutFile(2, 500), IsOk());
  ASSERT_THAT(PutFile(3, 7), IsOk());
  ASSERT_THAT(Put(4, S_IFLNK | 0777, 9), IsOk());
  EXPECT_EQ(tree_.content_bytes(), 507u);
  ASSERT_THAT(PutFile(2, 100), IsOk());
  EXPECT_EQ(tree_.content_bytes(), 107u);
  ASSERT_THAT(Apply(DropInode{.ino = 2}), IsOk());
  EXPECT_EQ(tree_.content_bytes(), 7u);
}

TEST_F(TreeTest, XattrsAreKeptThroughContent) {
  ASSERT_THAT(PutFile(2, 500), IsOk());
  ASSERT_THAT(Apply(SetXattr{.ino = 2, .name = "user.a", .value = "1"}),
              IsOk());
  ASSERT_THAT(Apply(SetXattr{.ino = 2, .name = "user.a", .value = "2"}),
              IsOk());
  ASSERT_THAT(Apply(SetContent{.ino = 2, .extents = {Whole(500, 64)}}), IsOk());
  EXPECT_EQ(tree_.Find(2)->detail->xattrs.at("user.a"), "2");
  ASSERT_THAT(Apply(DropXattr{.ino = 2, .name = "user.a"}), IsOk());
  EXPECT_THAT(tree_.Find(2)->detail->xattrs, IsEmpty());
}

TEST_F(TreeTest, DroppedInodesAreHandedOver) {
  std::vector<uint64_t> dropped;
  tree_.set_on_drop([&](std::unique_ptr<Inode> inode) {
    EXPECT_EQ(inode->link_count, 0u);
    dropped.push_back(inode->ino);
  });
  ASSERT_THAT(PutFile(2), IsOk());
  ASSERT_THAT(PutDir(3), IsOk());
  ASSERT_THAT(Apply(DropInode{.ino = 3}), IsOk());
  ASSERT_THAT(Apply(DropInode{.ino = 2}), IsOk());
  EXPECT_THAT(dropped, ElementsAre(3, 2));
}

TEST_F(TreeTest, CookiesStayWhileNamesComeAndGo) {
  ASSERT_THAT(PutFile(2), IsOk());
  const auto name_of = [](int i) { return absl::StrCat("name", i); };
  for (int i = 0; i < 100; ++i) ASSERT_THAT(Name(1, name_of(i), 2), IsOk());
  std::vector<std::string> seen;
  uint64_t cookie = 0;
  int made = 100;
  const auto next = [&]() -> const struct Name* {
    const struct Name* found = nullptr;
    tree_.root()->directory().ForEachAfter(cookie,
                                           [&found](const struct Name& name) {
                                             found = &name;
                                             return false;
                                           });
    return found;
  };
  while (const struct Name* name = next()) {
    EXPECT_GT(name->cookie, cookie);
    EXPECT_GT(name->cookie, 2u);
    cookie = name->cookie;
    seen.emplace_back(name->text());
    if (seen.size() > 150) break;
    // One behind, one in front, and a new one.
    if (seen.size() < 40) {
      ASSERT_THAT(Unname(1, name_of(static_cast<int>(seen.size()) - 1)),
                  IsOk());
      ASSERT_THAT(Unname(1, name_of(100 - static_cast<int>(seen.size()))),
                  IsOk());
      ASSERT_THAT(Name(1, name_of(made++), 2), IsOk());
    }
  }
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(),
            seen.size());
  for (int i = 0; i < 61; ++i) EXPECT_EQ(seen[i], name_of(i));
  EXPECT_EQ(seen.size(), 61u + 39u);
}

TEST_F(TreeTest, NamesKeepTheirPlaceWithinACommit) {
  ASSERT_THAT(PutDir(2), IsOk());
  ASSERT_THAT(Name(1, "d", 2), IsOk());
  for (uint64_t ino = 3; ino < 7; ++ino) {
    ASSERT_THAT(PutFile(ino), IsOk());
    ASSERT_THAT(Name(1, absl::StrCat("f", ino), ino), IsOk());
  }
  ASSERT_THAT(List(1), ElementsAre("d", "f3", "f4", "f5", "f6"));
  const auto commit = [&](const std::vector<Change>& changes) {
    tree_.BeginCommit();
    for (const Change& change : changes) {
      ASSERT_THAT(tree_.Apply(change, kTime), IsOk());
    }
  };
  // Renamed.
  commit({DropName{1, "f4"}, PutName{1, 4, "new"}});
  EXPECT_THAT(List(1), ElementsAre("d", "f3", "new", "f5", "f6"));
  // Replaced, by one of the directory.
  commit({DropName{1, "f6"}, DropName{1, "f3"}, PutName{1, 6, "f3"}});
  EXPECT_THAT(List(1), ElementsAre("d", "f3", "new", "f5"));
  // Exchanged.
  commit({DropName{1, "f3"}, DropName{1, "f5"}, PutName{1, 6, "f5"},
          PutName{1, 5, "f3"}});
  EXPECT_THAT(List(1), ElementsAre("d", "f3", "new", "f5"));
  EXPECT_EQ(tree_.Resolve("f3")->ino, 5u);
  // To another directory, and from there over a name.
  commit({DropName{1, "f3"}, PutName{2, 5, "f3"}});
  commit({DropName{2, "f3"}, DropName{1, "new"}, PutName{1, 5, "new"}});
  EXPECT_THAT(List(1), ElementsAre("d", "new", "f5"));
  // The name counts for more than the inode.
  commit({DropName{1, "new"}, PutName{1, 3, "new"}, PutName{1, 5, "moved"}});
  EXPECT_THAT(List(1), ElementsAre("d", "new", "f5", "moved"));
  // Names that another commit drops do not count.
  commit({DropName{1, "new"}});
  commit({PutName{1, 3, "new"}});
  EXPECT_THAT(List(1), ElementsAre("d", "f5", "moved", "new"));
}

// More names than any commit of ours drops.
TEST_F(TreeTest, CommitThatDropsManyNamesKeepsTheOrderOfTheRest) {
  ASSERT_THAT(PutFile(2), IsOk());
  for (int i = 0; i < 20; ++i) {
    ASSERT_THAT(Name(1, absl::StrCat("f", i), 2), IsOk());
  }
  tree_.BeginCommit();
  for (int i = 0; i < 10; ++i) {
    const std::string name = absl::StrCat("f", 2 * i);
    ASSERT_THAT(tree_.Apply(DropName{1, name}, kTime), IsOk());
  }
  for (int i = 0; i < 10; ++i) {
    const std::string name = absl::StrCat("f", 2 * i);
    ASSERT_THAT(tree_.Apply(PutName{1, 2, name}, kTime), IsOk());
  }
  const std::vector<std::string> all = List(1);
  EXPECT_EQ(all.size(), 20u);
  std::vector<std::string> odd;
  for (const std::string& name : all) {
    if ((name.back() - '0') % 2 != 0) odd.push_back(name);
  }
  EXPECT_THAT(odd, ElementsAre("f1", "f3", "f5", "f7", "f9", "f11", "f13",
                               "f15", "f17", "f19"));
}

TEST_F(TreeTest, ForEachVisitsParentsFirstAndEachInodeOnce) {
  for (uint64_t ino = 2; ino < 5; ++ino) ASSERT_THAT(PutDir(ino), IsOk());
  ASSERT_THAT(PutFile(5), IsOk());
  ASSERT_THAT(Name(1, "a", 2), IsOk());
  ASSERT_THAT(Name(2, "b", 3), IsOk());
  ASSERT_THAT(Name(1, "c", 4), IsOk());
  ASSERT_THAT(Name(3, "f", 5), IsOk());
  ASSERT_THAT(Name(4, "f", 5), IsOk());
  ASSERT_THAT(Name(1, "f", 5), IsOk());
  std::vector<uint64_t> seen;
  tree_.ForEach([&](const Inode& inode) { seen.push_back(inode.ino); });
  EXPECT_THAT(seen, testing::UnorderedElementsAre(1, 2, 3, 4, 5));
  const auto place = [&](uint64_t ino) {
    return std::find(seen.begin(), seen.end(), ino) - seen.begin();
  };
  EXPECT_LT(place(1), place(2));
  EXPECT_LT(place(2), place(3));
}

TEST_F(TreeTest, HundredThousandNames) {
  constexpr int kCount = 100'000;
  for (int i = 0; i < kCount; ++i) {
    ASSERT_THAT(PutFile(i + 2, 1), IsOk());
    ASSERT_THAT(Name(1, absl::StrCat("file-", i), i + 2), IsOk());
  }
  EXPECT_EQ(tree_.name_count(), uint64_t{kCount});
  EXPECT_EQ(tree_.inode_count(), uint64_t{kCount} + 1);
  for (int i = 0; i < kCount; i += 7) {
    ASSERT_EQ(tree_.Resolve(absl::StrCat("file-", i))->ino, uint64_t(i + 2));
  }
  EXPECT_EQ(List(1).size(), size_t{kCount});
  for (int i = 0; i < kCount; ++i) {
    ASSERT_THAT(Unname(1, absl::StrCat("file-", i)), IsOk());
    ASSERT_THAT(Apply(DropInode{.ino = uint64_t(i + 2)}), IsOk());
  }
  EXPECT_EQ(tree_.name_count(), 0u);
  EXPECT_EQ(tree_.content_bytes(), 0u);
  EXPECT_THAT(List(1), IsEmpty());
}

TEST_F(TreeTest, DeepTreesAreNoProblem) {
  constexpr uint64_t kDepth = 20'000;
  for (uint64_t ino = 2; ino < kDepth; ++ino) {
    ASSERT_THAT(PutDir(ino), IsOk());
    ASSERT_THAT(Name(ino - 1, "d", ino), IsOk());
  }
  EXPECT_EQ(Tree::PathOf(*tree_.Find(kDepth - 1)).size(), 2 * (kDepth - 2) - 1);
  uint64_t count = 0;
  tree_.ForEach([&](const Inode&) { ++count; });
  EXPECT_EQ(count, kDepth - 1);
}

}  // namespace
}  // namespace varve::fs
