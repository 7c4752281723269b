#include "fs/tree/tree_difference.h"

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "fs/btree/merge.h"
#include "fs/format/change.h"
#include "fs/tree/moment_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// One line, as a command would show it.
std::string Describe(const PathDifference& found) {
  std::string line =
      absl::StrCat(std::string(1, static_cast<char>(found.kind)), " ",
                   found.kind == PathDifference::Kind::kRenamed ||
                           (found.kind == PathDifference::Kind::kModified &&
                            found.old_path != found.path)
                       ? absl::StrCat(found.old_path, " -> ")
                       : "",
                   found.path);
  if (found.content) absl::StrAppend(&line, " content");
  if (found.attributes) absl::StrAppend(&line, " attributes");
  if (found.xattrs) absl::StrAppend(&line, " xattrs");
  if (found.replaced) absl::StrAppend(&line, " replaced");
  if (found.new_bytes > 0) absl::StrAppend(&line, " +", found.new_bytes);
  return line;
}

PutInode File(uint64_t ino, uint64_t size = 0, uint32_t mode = 0644) {
  return {.ino = ino, .attributes = {.mode = S_IFREG | mode, .size = size}};
}
PutInode Dir(uint64_t ino, uint32_t mode = 0755) {
  return {.ino = ino, .attributes = {.mode = S_IFDIR | mode}};
}
// Part of an entry whose checksum is its number.
Extent Data(uint64_t at, uint64_t length, uint32_t entry,
            uint64_t entry_offset = 0) {
  return {.file_offset = at,
          .length = length,
          .store_offset = 1000 * uint64_t{entry} + entry_offset,
          .key_hash = entry,
          .entry_offset = entry_offset,
          .entry_size = 100,
          .entry_crc32 = entry};
}

class TreeDifferenceTest : public ::testing::Test {
 protected:
  void Apply(const std::vector<Change>& changes) { tree_.Apply(changes); }
  // The next difference is that from here on.
  void Begin() { before_ = tree_.Now(); }
  std::vector<std::string> Diff(absl::string_view below = {}) {
    return Diff(*before_, *tree_.Now(), {NodeSharing::kOneStore, below});
  }
  static std::vector<std::string> Diff(const Moment& before,
                                       const Moment& after,
                                       const PathDiffOptions& options) {
    std::vector<std::string> lines;
    EXPECT_THAT(
        DiffPaths(before.tree(), after.tree(), options,
                  [&](const PathDifference& found) -> absl::StatusOr<bool> {
                    lines.push_back(Describe(found));
                    return true;
                  }),
        IsOk());
    return lines;
  }

  ChangingTree tree_;
  std::unique_ptr<Moment> before_;
};

TEST_F(TreeDifferenceTest, EqualMomentsHaveNone) {
  Apply({File(2), PutName{1, 2, "f"}});
  Begin();
  EXPECT_THAT(Diff(), IsEmpty());
  tree_.Checkpoint();
  EXPECT_THAT(Diff(), IsEmpty());
}

TEST_F(TreeDifferenceTest, WhatCameAndWentIsInTheOrderOfPaths) {
  Apply({Dir(2), PutName{1, 2, "a"}, File(3), PutName{2, 3, "x"}, File(4),
         PutName{1, 4, "a-b"}});
  Begin();
  Apply({DropName{2, "x"}, DropInode{3}, DropName{1, "a"}, DropInode{2},
         DropName{1, "a-b"}, DropInode{4}, File(5), PutName{1, 5, "b"}, Dir(6),
         PutName{1, 6, "a+"}, File(7), PutName{6, 7, "\xffz"}, File(8),
         PutName{6, 8, "y"}});
  EXPECT_THAT(Diff(), ElementsAre("- a", "- a/x", "+ a+", "+ a+/y",
                                  "+ a+/\xffz", "- a-b", "+ b"));
}

TEST_F(TreeDifferenceTest, ContentAttributesAndXattrsAreToldApart) {
  Apply({File(2, 50), SetContent{2, {Data(0, 50, 1)}}, PutName{1, 2, "a"},
         File(3, 50), SetContent{3, {Data(0, 50, 2)}}, PutName{1, 3, "b"},
         File(4), PutName{1, 4, "c"}, File(5), PutName{1, 5, "d"}, File(6),
         PutName{1, 6, "e"}, SetXattr{6, "user.x", "1"}});
  Begin();
  PutInode touched = File(5);
  touched.attributes.mtime = ChangingTree::At(99);
  Apply({SetContent{2, {Data(0, 50, 3)}}, File(3, 40), File(4, 0, 0600),
         touched, SetXattr{6, "user.x", "2"}});
  EXPECT_THAT(Diff(),
              ElementsAre("M a content +50", "M b content", "M c attributes",
                          "M d attributes", "M e xattrs"));
}

TEST_F(TreeDifferenceTest, AccessesAndChangesOfNamesAreNotToldOfInodes) {
  Apply({Dir(2), PutName{1, 2, "d"}, File(3), PutName{2, 3, "f"}});
  Begin();
  PutInode accessed = File(3);
  accessed.attributes.atime = accessed.attributes.ctime = ChangingTree::At(99);
  Apply({accessed, PutName{2, 3, "g"}});
  // The directory has another mtime, and the file another ctime.
  EXPECT_THAT(Diff(), ElementsAre("+ d/g"));
  Apply({DropName{2, "g"}});
  EXPECT_THAT(Diff(), IsEmpty());
  // A name that was at another place of its directory.
  Apply({File(4), PutName{2, 4, "h"}});
  Apply({DropName{2, "f"}, DropInode{3}});
  Begin();
  Apply({File(5), PutName{2, 5, "t"}});
  Apply({DropName{2, "h"}, PutName{1, 4, "h"}});
  Apply({DropName{1, "h"}, PutName{2, 4, "h"}});
  EXPECT_THAT(Diff(), ElementsAre("+ d/t"));
}

TEST_F(TreeDifferenceTest, DirectoriesAreModifiedByTheirAttributes) {
  Apply({Dir(2), PutName{1, 2, "d"}});
  Begin();
  Apply({Dir(2, 0700), SetXattr{2, "user.x", ""}, Dir(1, 0700)});
  EXPECT_THAT(Diff(), ElementsAre("M  attributes", "M d attributes xattrs"));
}

TEST_F(TreeDifferenceTest, TheSameBytesElsewhereAreNoChange) {
  Extent whole = Data(0, 100, 1);
  Apply({File(2, 100), SetContent{2, {whole}}, PutName{1, 2, "whole"},
         File(3, 60), SetContent{3, {Data(0, 20, 2, 5), Data(40, 20, 3)}},
         PutName{1, 3, "parts"}});
  Begin();
  whole.store_offset += 64;
  whole.key_hash = 77;
  std::vector<Extent> parts = {Data(0, 12, 2, 5), Data(12, 8, 2, 17),
                               Data(40, 20, 3)};
  for (Extent& part : parts) part.store_offset += 4096;
  Apply({SetContent{2, {whole}},
         SetContent{3, ExtentList(parts.begin(), parts.end())}});
  EXPECT_THAT(Diff(), IsEmpty());
  // Other bytes of the same entry.
  Apply({PatchContent{3, {Data(12, 8, 2, 18)}}});
  EXPECT_THAT(Diff(), ElementsAre("M parts content +8"));
}

TEST_F(TreeDifferenceTest, NewBytesAreThoseOfTheRangesThatDiffer) {
  Apply({File(2, 300), SetContent{2, {Data(0, 100, 1), Data(200, 100, 2)}},
         PutName{1, 2, "f"}});
  Begin();
  Apply({PatchContent{2, {Data(90, 20, 3)}}});
  EXPECT_THAT(Diff(), ElementsAre("M f content +20"));
  Apply({PatchContent{2, {Extent::Hole(0, 300)}}});
  EXPECT_THAT(Diff(), ElementsAre("M f content"));
  Apply({DropName{1, "f"}, DropInode{2}, File(3, 80),
         SetContent{3, {Data(20, 30, 1)}}, PutName{1, 3, "g"},
         PutName{1, 3, "h"}});
  EXPECT_THAT(Diff(), ElementsAre("- f", "+ g +30", "+ h"));
}

TEST_F(TreeDifferenceTest, SizesAreThoseOfTheInodes) {
  Apply({File(2, 10), PutName{1, 2, "f"}});
  Begin();
  Apply({File(2, 30)});
  const auto after = tree_.Now();
  ASSERT_THAT(
      DiffPaths(before_->tree(), after->tree(), {NodeSharing::kOneStore},
                [](const PathDifference& found) -> absl::StatusOr<bool> {
                  EXPECT_EQ(found.before->attributes.size, 10);
                  EXPECT_EQ(found.after->attributes.size, 30);
                  return true;
                }),
      IsOk());
  EXPECT_THAT(Diff(), ElementsAre("M f content"));
}

TEST_F(TreeDifferenceTest, ARenamedDirectoryIsOneLine) {
  Apply({Dir(2), PutName{1, 2, "d"}, Dir(3), PutName{2, 3, "sub"}, File(4),
         PutName{3, 4, "f"}, File(5), PutName{3, 5, "g"}, File(6),
         PutName{3, 6, "h"}, Dir(7), PutName{1, 7, "other"}});
  Begin();
  Apply({DropName{1, "d"}, PutName{7, 2, "e"}});
  EXPECT_THAT(Diff(), ElementsAre("R d -> other/e"));
  Apply({File(4, 0, 0600), DropName{3, "g"}, DropInode{5}, File(8),
         PutName{3, 8, "new"}});
  Apply({DropName{3, "h"}, PutName{3, 6, "i"}});
  EXPECT_THAT(Diff(),
              ElementsAre("- d/sub/g", "R d -> other/e",
                          "M d/sub/f -> other/e/sub/f attributes",
                          "R d/sub/h -> other/e/sub/i", "+ other/e/sub/new"));
}

TEST_F(TreeDifferenceTest, ARenamedFileMayBeModifiedToo) {
  Apply({File(2), PutName{1, 2, "a"}, File(3), PutName{1, 3, "b"}});
  Begin();
  Apply({DropName{1, "a"}, DropName{1, "b"}, DropInode{3}, PutName{1, 2, "b"}});
  EXPECT_THAT(Diff(), ElementsAre("- b", "R a -> b"));
  Apply({File(2, 9), SetXattr{2, "user.x", "1"}, File(4), PutName{1, 4, "a"}});
  EXPECT_THAT(Diff(), ElementsAre("+ a", "- b", "R a -> b content xattrs"));
}

TEST_F(TreeDifferenceTest, NamesCanBeExchanged) {
  Apply({File(2), PutName{1, 2, "a"}, Dir(3), PutName{1, 3, "b"}});
  Begin();
  Apply({DropName{1, "a"}, DropName{1, "b"}, PutName{1, 2, "b"},
         PutName{1, 3, "a"}});
  EXPECT_THAT(Diff(), ElementsAre("R b -> a", "R a -> b"));
}

TEST_F(TreeDifferenceTest, EachHardLinkIsAPath) {
  Apply({File(2), PutName{1, 2, "a"}, PutName{1, 2, "b"}, PutName{1, 2, "c"}});
  Begin();
  Apply({PutName{1, 2, "d"}, DropName{1, "b"}});
  EXPECT_THAT(Diff(), ElementsAre("R b -> d"));
  Apply({DropName{1, "a"}, File(2, 100), SetContent{2, {Data(0, 100, 1)}}});
  EXPECT_THAT(Diff(),
              ElementsAre("- b", "M c content +100", "R a -> d content"));
  Apply({PutName{1, 2, "e"}, PutName{1, 2, "f"}});
  EXPECT_THAT(Diff(), ElementsAre("M c content +100", "R a -> d content",
                                  "R b -> e content", "+ f"));
}

TEST_F(TreeDifferenceTest, AFileWrittenAnewIsModified) {
  Apply({Dir(2), PutName{1, 2, "d"}, File(3, 100),
         SetContent{3, {Data(0, 100, 1)}}, PutName{2, 3, "f"}, File(4),
         PutName{2, 4, "g"}});
  Begin();
  // As editors do it.
  Apply({File(5, 100), SetContent{5, {Data(0, 100, 2)}},
         SetXattr{5, "user.x", ""}, PutName{2, 5, "f~"}});
  Apply(
      {DropName{2, "f"}, DropInode{3}, DropName{2, "f~"}, PutName{2, 5, "f"}});
  EXPECT_THAT(Diff(), ElementsAre("M d/f content xattrs replaced +100"));
  // A new directory that looks like the former one, apart from a file.
  Apply({DropXattr{5, "user.x"}, SetContent{5, {Data(0, 100, 1)}},
         DropName{2, "g"}, DropInode{4}, Dir(6), PutName{1, 6, "d~"},
         DropName{2, "f"}, PutName{6, 5, "f"}, DropName{1, "d"}, DropInode{2},
         DropName{1, "d~"}, PutName{1, 6, "d"}});
  EXPECT_THAT(Diff(), ElementsAre("- d/g"));
  // Of another type.
  Apply({Dir(7), PutName{6, 7, "g"}});
  EXPECT_THAT(Diff(), ElementsAre("- d/g", "+ d/g"));
}

TEST_F(TreeDifferenceTest, WhatDidNotGoWithItsDirectoryIsTold) {
  Apply({Dir(2), PutName{1, 2, "d"}, File(3), PutName{2, 3, "f"}, File(4),
         PutName{2, 4, "g"}, File(5), PutName{2, 5, "h"}});
  Begin();
  Apply({DropName{1, "d"}, PutName{1, 2, "old"}, Dir(6), PutName{1, 6, "d"}});
  Apply({DropName{2, "f"}, PutName{6, 3, "f"}});
  Apply({DropName{2, "g"}, DropInode{4}, File(7), PutName{6, 7, "g"}});
  EXPECT_THAT(Diff(), ElementsAre("+ d", "R d/f -> d/f", "M d/g replaced",
                                  "R d -> old"));
  // A directory that has the path of the former, and what was in it.
  Apply({DropName{2, "h"}, PutName{6, 5, "h"}});
  Apply({DropName{1, "old"}, DropInode{2}});
  EXPECT_THAT(Diff(), IsEmpty());
  Apply({File(5, 0, 0600)});
  EXPECT_THAT(Diff(), ElementsAre("M d/h attributes"));
}

TEST_F(TreeDifferenceTest, WhatIsToldOfADirectoryGoesForWhatLiesInIt) {
  Apply({Dir(2), PutName{1, 2, "a"}, Dir(3), PutName{2, 3, "b"}, File(4),
         PutName{3, 4, "f"}});
  Begin();
  Apply({DropName{1, "a"}, PutName{1, 2, "old"}, Dir(5), PutName{1, 5, "a"},
         DropName{2, "b"}, PutName{5, 3, "b"}});
  // It is told that b is not in the directory that is old now, so nothing needs
  // to be told of this.
  Apply({DropName{3, "f"}, DropInode{4}, File(6), PutName{3, 6, "f"}});
  EXPECT_THAT(Diff(), ElementsAre("+ a", "R a/b -> a/b", "R a -> old"));
}

TEST_F(TreeDifferenceTest, CanBeLimitedToAPath) {
  Apply({Dir(2), PutName{1, 2, "d"}, File(3), PutName{2, 3, "f"}, File(4),
         PutName{2, 4, "g"}, File(5), PutName{1, 5, "d2"}, Dir(6),
         PutName{1, 6, "e"}});
  Begin();
  Apply({Dir(2, 0700), Dir(1, 0700), File(3, 1), File(5, 1), Dir(6, 0700),
         DropName{2, "g"}, PutName{6, 4, "g"}});
  EXPECT_THAT(Diff("d"),
              ElementsAre("M d attributes", "M d/f content", "R d/g -> e/g"));
  EXPECT_THAT(Diff("e"), ElementsAre("M e attributes", "R d/g -> e/g"));
  EXPECT_THAT(Diff("d/f"), ElementsAre("M d/f content"));
  EXPECT_THAT(Diff("d/f/x"), IsEmpty());
  EXPECT_THAT(Diff("nowhere"), IsEmpty());
  EXPECT_EQ(Diff().size(), 6);
}

TEST_F(TreeDifferenceTest, TheVisitorEndsIt) {
  Begin();
  Apply({File(2), PutName{1, 2, "a"}, PutName{1, 2, "b"}, PutName{1, 2, "c"}});
  const auto after = tree_.Now();
  int count = 0;
  EXPECT_THAT(DiffPaths(before_->tree(), after->tree(), {},
                        [&](const PathDifference&) -> absl::StatusOr<bool> {
                          return ++count < 2;
                        }),
              IsOk());
  EXPECT_EQ(count, 2);
  EXPECT_THAT(DiffPaths(before_->tree(), after->tree(), {},
                        [&](const PathDifference&) -> absl::StatusOr<bool> {
                          return absl::AbortedError("");
                        }),
              HasCode(absl::StatusCode::kAborted));
}

TEST_F(TreeDifferenceTest, MomentsInDifferentStores) {
  Apply({Dir(2), PutName{1, 2, "d"}, File(3), PutName{2, 3, "f"}});
  Begin();
  Apply({File(3, 5)});
  MemoryNodes others;
  const NodeReader reader(&others);
  const auto root = BuildTree(tree_.tree().items(), &others);
  ASSERT_THAT(root, IsOk());
  const Moment after(&reader, *root, Overlay());
  EXPECT_THAT(Diff(*before_, after, {}), ElementsAre("M d/f content"));
}

TEST_F(TreeDifferenceTest, DamageIsAnError) {
  std::vector<std::string> names;
  for (int i = 0; i < 400; ++i) names.push_back(absl::StrCat("name-", i));
  std::vector<Change> changes;
  for (uint64_t ino = 2; ino < 400; ++ino) {
    changes.push_back(File(ino));
    changes.push_back(PutName{1, ino, names[ino]});
  }
  Apply(changes);
  tree_.Checkpoint();
  Begin();
  Apply({File(77, 1), File(300, 1), DropName{1, names[200]}, DropInode{200}});
  tree_.Checkpoint();
  const std::vector<std::string> expected = Diff();
  EXPECT_EQ(expected.size(), 3);
  const auto after = tree_.Now();
  int errors = 0;
  for (size_t i = 0; i < tree_.nodes().count(); ++i) {
    std::string& node = tree_.nodes().node(i);
    const std::string sound = node;
    node[node.size() / 2] ^= 1;
    const NodeReader reader(&tree_.nodes());
    const Moment damaged_before(&reader, before_->root(), before_->overlay());
    const Moment damaged_after(&reader, after->root(), after->overlay());
    std::vector<std::string> found;
    const absl::Status status = DiffPaths(
        damaged_before.tree(), damaged_after.tree(), {NodeSharing::kOneStore},
        [&](const PathDifference& line) -> absl::StatusOr<bool> {
          found.push_back(Describe(line));
          return true;
        });
    if (status.ok()) {
      EXPECT_EQ(found, expected);
    } else {
      EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
      ++errors;
    }
    node = sound;
  }
  EXPECT_GT(errors, 0);
}

}  // namespace
}  // namespace varve::fs
