// Keys of plain files: what the tree says of them is what the index says.

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

class VolumeKeysTest : public testing::Test {
 protected:
  void SetUp() override { v_.Open(); }

  bool HasIndex() { return v_.volume().store().has_index(); }

  // Files of which the tree says that they lie where they were written.
  std::vector<InodeItem> Unmoved() {
    std::vector<InodeItem> files;
    v_.volume().WithTree([&](const TreeReader& tree) {
      EXPECT_THAT(tree.ForEachInode([&](const InodeItem& inode) {
        if (inode.whole_entry.has_value() && !inode.moved) {
          const auto moved = tree.LiesInMoved(inode);
          EXPECT_THAT(moved, IsOk());
          if (!moved.value_or(true)) files.push_back(inode);
        }
        return true;
      }),
                  IsOk());
    });
    return files;
  }
  // Such a file may hide its key: no newer entry of that key is another's.
  void ExpectUnmovedAreNewest() {
    for (const InodeItem& inode : Unmoved()) {
      const auto newest = v_.volume().store().Find(
          EntryKey::OfHash(inode.whole_entry->key_hash));
      if (newest.has_value()) {
        EXPECT_EQ(*newest, inode.WholeExtent().entry_metadata_offset());
      }
    }
  }

  TestVolume v_;
};

TEST_F(VolumeKeysTest, EverydayWorkNeedsNoIndex) {
  EXPECT_THAT(v_.MakeDir("d"), IsOk());
  for (int i = 0; i < 50; ++i) {
    EXPECT_THAT(v_.Write(absl::StrCat("d/", i), absl::StrCat("text", i)),
                IsOk());
  }
  v_.Reopen();
  EXPECT_EQ(v_.Read("d/7").value_or("none"), "text7");
  EXPECT_THAT(v_.Write("d/7", "other"), IsOk());
  EXPECT_THAT(v_.WriteAt("d/8", 9000, "in pieces"), IsOk());
  EXPECT_THAT(v_.Unlink("d/9"), IsOk());
  EXPECT_THAT(v_.Rename("d/10", "d/11"), IsOk());
  EXPECT_THAT(v_.Unlink("d/11"), IsOk());
  EXPECT_FALSE(HasIndex());
  v_.Crash();
  EXPECT_EQ(v_.Read("d/7").value_or("none"), "other");
  EXPECT_FALSE(HasIndex());
  // Other programs see the same.
  EXPECT_EQ(v_.ReadRaw("d/7"), "other");
  EXPECT_EQ(v_.ReadRaw("d/9"), std::nullopt);
  EXPECT_EQ(v_.ReadRaw("d/11"), std::nullopt);
  EXPECT_EQ(v_.ReadRaw("d/12"), "text12");
}

TEST_F(VolumeKeysTest, MovedFileDoesNotHideWhatIsWhereItWas) {
  const std::string large(100000, 'l');
  EXPECT_THAT(v_.MakeDir("d"), IsOk());
  EXPECT_THAT(v_.Write("d/x", "first"), IsOk());
  EXPECT_THAT(v_.Write("d/y", large), IsOk());
  EXPECT_THAT(v_.Rename("d", "e"), IsOk());
  EXPECT_THAT(v_.MakeDir("d"), IsOk());
  EXPECT_THAT(v_.Write("d/x", "second"), IsOk());
  EXPECT_THAT(v_.Write("d/y", "small"), IsOk());
  EXPECT_THAT(v_.Unlink("e/x"), IsOk());
  EXPECT_THAT(v_.Write("e/y", "other"), IsOk());
  EXPECT_EQ(v_.ReadRaw("d/x"), "second");
  EXPECT_EQ(v_.ReadRaw("d/y"), "small");
  EXPECT_THAT(v_.Rename("d", "f"), IsOk());
  EXPECT_THAT(v_.Rename("e", "d"), IsOk());
  EXPECT_THAT(v_.Unlink("d/y"), IsOk());
  EXPECT_EQ(v_.ReadRaw("d/x"), "second");
  EXPECT_EQ(v_.ReadRaw("d/y"), "small");
  EXPECT_THAT(v_.Unlink("f/x"), IsOk());
  EXPECT_EQ(v_.ReadRaw("d/x"), std::nullopt);
}

TEST_F(VolumeKeysTest, DataKeyOfAMovedFileGoesOnLeadingToIt) {
  // Written in pieces, so that it does not lie under its path.
  EXPECT_THAT(v_.Write("a", ""), IsOk());
  EXPECT_THAT(v_.WriteAt("a", 5000, std::string(200000, 'a')), IsOk());
  EXPECT_THAT(v_.WriteAt("a", 0, std::string(5000, 'a')), IsOk());
  EXPECT_THAT(v_.Rename("a", "b"), IsOk());
  v_.Close();
  v_.WithForeignStore(
      [](Store& store) { EXPECT_THAT(store.Compact(), IsOk()); });
  v_.Open();
  EXPECT_EQ(v_.Read("b").value_or("none"), std::string(205000, 'a'));
}

TEST_F(VolumeKeysTest, WhatIsNotMovedIsTheNewestOfItsKey) {
  std::mt19937 random(20261129);
  const auto name = [&](int depth) {
    std::string path(1, static_cast<char>('a' + random() % 3));
    for (int i = 1; i < depth; ++i) {
      absl::StrAppend(&path, "/", std::string(1, 'a' + random() % 3));
    }
    return path;
  };
  // Most fail: there is no such name, or a directory is in the way.
  for (int i = 0; i < 4000; ++i) {
    const std::string path = name(1 + random() % 3);
    const std::string other = name(1 + random() % 3);
    switch (random() % 8) {
      case 0:
      case 1:
        v_.Write(path, absl::StrCat(i)).IgnoreError();
        break;
      case 2:
        v_.Write(path, std::string(70000, 'a' + i % 26)).IgnoreError();
        break;
      case 3:
        v_.MakeDir(path).IgnoreError();
        break;
      case 4:
      case 5:
        v_.Rename(path, other, random() % 4 == 0 ? RENAME_EXCHANGE : 0)
            .IgnoreError();
        break;
      case 6:
        v_.Link(path, other).IgnoreError();
        break;
      case 7:
        if (random() % 2 == 0) {
          v_.Unlink(path).IgnoreError();
        } else {
          v_.RemoveDir(path).IgnoreError();
        }
        break;
    }
    if (i % 20 == 0) ExpectUnmovedAreNewest();
    if (i % 500 == 499) v_.Crash();
    ASSERT_FALSE(HasFailure()) << "after step " << i;
  }
  EXPECT_FALSE(Unmoved().empty());
}

}  // namespace
}  // namespace varve::fs
