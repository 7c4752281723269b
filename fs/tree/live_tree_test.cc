#include "fs/tree/live_tree.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/format/change.h"
#include "fs/format/timestamp.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kSeed = 0x5eed;

Timestamp At(uint64_t seconds) { return Timestamp::FromPacked(seconds << 30); }

class LiveTreeTest : public ::testing::Test {
 protected:
  LiveTreeTest() : reader_(&nodes_) { Reopen(std::nullopt); }

  void Reopen(std::optional<NodePointer> root) {
    auto tree = LiveTree::Open(&reader_, root, kSeed);
    ASSERT_THAT(tree, IsOk());
    tree_ = *std::move(tree);
  }
  void Apply(const std::vector<Change>& changes, uint64_t time = 1) {
    TreeEditor editor = tree_->Edit();
    for (const Change& change : changes) {
      ASSERT_THAT(editor.Apply(change, At(time)), IsOk());
    }
    tree_->Publish(editor);
  }
  bool Refuses(const Change& change) {
    TreeEditor editor = tree_->Edit();
    return absl::IsDataLoss(editor.Apply(change, At(1)));
  }
  void Checkpoint() {
    tree_->Freeze();
    auto root = MergeOverlay(tree_->stored(), tree_->frozen(), &nodes_);
    ASSERT_THAT(root, IsOk());
    Overlay garbage;
    tree_->Install(*root, &garbage);
  }
  std::vector<std::string> Names(uint64_t directory) {
    std::vector<std::string> names;
    EXPECT_THAT(
        tree_->reader().ForEachNameAfter({directory, 0},
                                         [&](const NameItem& name) {
                                           names.emplace_back(name.text);
                                           return true;
                                         }),
        IsOk());
    return names;
  }
  std::string Path(uint64_t ino) {
    const TreeReader& reader = tree_->reader();
    return *reader.PathOf(*reader.GetInode(ino));
  }

  MemoryNodes nodes_;
  NodeReader reader_;
  std::unique_ptr<LiveTree> tree_;
};

PutInode File(uint64_t ino, uint64_t size = 0) {
  return {.ino = ino, .attributes = {.mode = S_IFREG | 0644, .size = size}};
}
PutInode Dir(uint64_t ino) {
  return {.ino = ino, .attributes = {.mode = S_IFDIR | 0755}};
}

TEST_F(LiveTreeTest, StartsWithARoot) {
  auto root = tree_->reader().Resolve("");
  ASSERT_THAT(root, IsOk());
  EXPECT_EQ((*root)->nlink(), 2u);
  EXPECT_THAT(Names(kRootIno), IsEmpty());
  EXPECT_EQ(tree_->totals().inodes, 1u);
}

TEST_F(LiveTreeTest, NamesAreInTheOrderInWhichTheyCame) {
  Apply({File(2), PutName{kRootIno, 2, "z"}, File(3), PutName{kRootIno, 3, "a"},
         File(4), PutName{kRootIno, 4, "m"}});
  EXPECT_THAT(Names(kRootIno), ElementsAre("z", "a", "m"));
  // Renamed within a directory, and replaced.
  Apply({DropName{kRootIno, "z"}, PutName{kRootIno, 2, "y"}});
  EXPECT_THAT(Names(kRootIno), ElementsAre("y", "a", "m"));
  Apply({DropName{kRootIno, "m"}, DropName{kRootIno, "a"},
         PutName{kRootIno, 4, "a"}, DropInode{3}});
  EXPECT_THAT(Names(kRootIno), ElementsAre("y", "a"));
  Checkpoint();
  EXPECT_THAT(Names(kRootIno), ElementsAre("y", "a"));
  EXPECT_EQ((*tree_->reader().FindName(kRootIno, "a"))->ino, 4u);
  EXPECT_FALSE((*tree_->reader().FindName(kRootIno, "m")).has_value());
}

TEST_F(LiveTreeTest, AFileGoesOnUnderAnotherOfItsNames) {
  Apply({Dir(2), PutName{kRootIno, 2, "d"}, File(3), PutName{kRootIno, 3, "f"},
         PutName{2, 3, "g"}, PutName{kRootIno, 3, "h"}});
  EXPECT_EQ(Path(3), "f");
  Apply({DropName{kRootIno, "f"}});
  EXPECT_EQ(Path(3), "h");
  Checkpoint();
  Apply({DropName{kRootIno, "h"}});
  EXPECT_EQ(Path(3), "d/g");
  EXPECT_EQ(tree_->reader().GetInode(3)->nlink(), 1u);
  EXPECT_TRUE(Refuses(DropInode{3}));
  Apply({DropName{2, "g"}, DropInode{3}});
  EXPECT_EQ(tree_->totals().inodes, 2u);
}

TEST_F(LiveTreeTest, ADirectoryCannotLieInItself) {
  Apply({Dir(2), PutName{kRootIno, 2, "a"}, Dir(3), PutName{2, 3, "b"}, Dir(4),
         PutName{3, 4, "c"}});
  EXPECT_TRUE(Refuses(PutName{kRootIno, 3, "again"}));
  TreeEditor editor = tree_->Edit();
  ASSERT_THAT(editor.Apply(DropName{kRootIno, "a"}, At(1)), IsOk());
  EXPECT_TRUE(absl::IsDataLoss(editor.Apply(PutName{4, 2, "a"}, At(1))));
  EXPECT_TRUE(absl::IsDataLoss(editor.Apply(PutName{2, 2, "a"}, At(1))));
  EXPECT_THAT(editor.Apply(PutName{kRootIno, 2, "a"}, At(1)), IsOk());
}

TEST_F(LiveTreeTest, WhatIsNotPublishedHasNotHappened) {
  {
    TreeEditor editor = tree_->Edit();
    ASSERT_THAT(editor.Apply(File(2), At(1)), IsOk());
    ASSERT_THAT(editor.Apply(PutName{kRootIno, 2, "f"}, At(1)), IsOk());
    EXPECT_EQ((*editor.reader().FindName(kRootIno, "f"))->ino, 2u);
  }
  EXPECT_FALSE((*tree_->reader().FindName(kRootIno, "f")).has_value());
  EXPECT_EQ(tree_->totals().inodes, 1u);
}

TEST_F(LiveTreeTest, AttributesOfAnySize) {
  Apply({File(2), PutName{kRootIno, 2, "f"}});
  for (const size_t size :
       {size_t{0}, size_t{1}, kXattrChunkSize - 1, kXattrChunkSize,
        kXattrChunkSize + 1, kMaxXattrValueSize}) {
    const std::string value(size, static_cast<char>('a' + size % 26));
    Apply({SetXattr{2, "user.a", value}, SetXattr{2, "user.ab", "next"}});
    EXPECT_EQ(*tree_->reader().FindXattr(2, "user.a"), value);
    Checkpoint();
    EXPECT_EQ(*tree_->reader().FindXattr(2, "user.a"), value);
    EXPECT_EQ(*tree_->reader().FindXattr(2, "user.ab"), "next");
  }
  Apply({SetXattr{2, "user.a", "short"}});
  EXPECT_EQ(*tree_->reader().FindXattr(2, "user.a"), "short");
  Apply({DropXattr{2, "user.a"}});
  EXPECT_FALSE(tree_->reader().FindXattr(2, "user.a")->has_value());
  EXPECT_TRUE(Refuses(DropXattr{2, "user.a"}));
  Checkpoint();
  // Nothing is left of an inode that is dropped.
  Apply({DropName{kRootIno, "f"}, DropInode{2}});
  Checkpoint();
  EXPECT_EQ(tree_->totals().inodes, 1u);
  TreeCursor cursor(&tree_->stored());
  ASSERT_THAT(cursor.Seek(KeyPrefix(2, ItemKind::kInode)), IsOk());
  EXPECT_FALSE(cursor.valid());
}

TEST_F(LiveTreeTest, ACheckpointThatFailsIsTakenBack) {
  Apply({File(2), PutName{kRootIno, 2, "f"}});
  nodes_.FailAt(nodes_.count());
  tree_->Freeze();
  Apply({File(3), PutName{kRootIno, 3, "g"}});
  EXPECT_FALSE(MergeOverlay(tree_->stored(), tree_->frozen(), &nodes_).ok());
  EXPECT_THAT(Names(kRootIno), ElementsAre("f", "g"));
  tree_->Thaw();
  EXPECT_THAT(Names(kRootIno), ElementsAre("f", "g"));
  nodes_.FailAt(SIZE_MAX);
  Checkpoint();
  Reopen(tree_->stored().root());
  EXPECT_THAT(Names(kRootIno), ElementsAre("f", "g"));
  EXPECT_EQ(tree_->totals().inodes, 3u);
}

TEST_F(LiveTreeTest, ADamagedNodeIsAnErrorAndChangesNothing) {
  std::vector<Change> changes;
  std::vector<std::string> names;
  for (uint64_t ino = 2; ino < 300; ++ino) {
    names.push_back(absl::StrCat("a-name-of-some-length-", ino));
  }
  for (uint64_t ino = 2; ino < 300; ++ino) {
    changes.push_back(File(ino));
    changes.push_back(PutName{kRootIno, ino, names[ino - 2]});
  }
  Apply(changes);
  Checkpoint();
  ASSERT_GT(nodes_.count(), 5u);
  const std::optional<NodePointer> root = tree_->stored().root();
  size_t errors = 0;
  for (size_t damaged = 0; damaged < nodes_.count(); ++damaged) {
    std::string& node = nodes_.node(damaged);
    const std::string sound = node;
    node[node.size() / 2] ^= 1;
    NodeReader fresh(&nodes_);
    auto tree = LiveTree::Open(&fresh, root, kSeed);
    if (tree.ok()) {
      for (const std::string& name : names) {
        TreeEditor editor = (*tree)->Edit();
        const absl::Status status =
            editor.Apply(DropName{kRootIno, name}, At(2));
        EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
        if (!status.ok()) ++errors;
      }
    } else {
      EXPECT_TRUE(absl::IsDataLoss(tree.status()));
    }
    node = sound;
  }
  EXPECT_GT(errors, 0u);
}

}  // namespace
}  // namespace varve::fs
