#include "fs/tree/inode_table.h"

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "fs/format/commit_record.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

std::set<uint64_t> NumbersIn(const InodeTable& table) {
  std::set<uint64_t> numbers;
  table.ForEach([&](const Inode& inode) {
    EXPECT_EQ(table.Find(inode.ino), &inode);
    numbers.insert(inode.ino);
  });
  EXPECT_EQ(numbers.size(), table.size());
  return numbers;
}

TEST(InodeTable, MadeInodesAreFoundUntilTheyAreDropped) {
  InodeTable table;
  EXPECT_EQ(table.Find(5), nullptr);
  EXPECT_EQ(table.FindMutable(5), nullptr);
  Inode* const inode = table.Make(5);
  EXPECT_EQ(inode->ino, 5u);
  EXPECT_EQ(inode->whole_entry, Inode::kNone);
  EXPECT_EQ(table.Find(5), inode);
  EXPECT_EQ(table.FindMutable(5), inode);
  EXPECT_EQ(table.Find(4), nullptr);
  table.Drop(inode);
  EXPECT_EQ(table.Find(5), nullptr);
  EXPECT_EQ(table.FindMutable(5), nullptr);
  EXPECT_EQ(table.size(), 0u);
}

TEST(InodeTable, AnyNumberWillDo) {
  InodeTable table;
  std::set<uint64_t> made = {0,          1,          15,          16,
                             UINT32_MAX, kMaxId - 1, kMaxId - 16, UINT64_MAX};
  // Numbers that are far apart and have the same lower bits.
  for (uint64_t i = 1; i < 1000; ++i) made.insert(i << 50);
  for (const uint64_t ino : made) table.Make(ino);
  EXPECT_EQ(NumbersIn(table), made);
  for (const uint64_t ino : made) {
    EXPECT_EQ(table.FindMutable(ino)->ino, ino);
    EXPECT_EQ(table.Find(ino ^ 2) != nullptr, made.contains(ino ^ 2));
  }
  while (made.size() > 10) {
    table.Drop(table.FindMutable(*made.begin()));
    made.erase(made.begin());
  }
  EXPECT_EQ(NumbersIn(table), made);
}

TEST(InodeTable, PagesThatAreEmptyAreForgotten) {
  InodeTable table;
  for (int round = 0; round < 3; ++round) {
    for (uint64_t ino = 0; ino < 64; ++ino) table.Make(ino);
    for (uint64_t ino = 0; ino < 64; ++ino) {
      table.Drop(table.FindMutable(ino));
      EXPECT_EQ(table.FindMutable(ino), nullptr);
      EXPECT_EQ(table.Find(ino), nullptr);
    }
  }
  EXPECT_EQ(table.size(), 0u);
}

TEST(InodeTable, InodesStayWhereTheyAre) {
  InodeTable table;
  std::vector<Inode*> inodes;
  for (uint64_t ino = 0; ino < 10'000; ++ino) inodes.push_back(table.Make(ino));
  for (uint64_t ino = 0; ino < 10'000; ino += 2) table.Drop(inodes[ino]);
  for (uint64_t ino = 1; ino < 10'000; ino += 2) {
    EXPECT_EQ(table.Find(ino), inodes[ino]);
  }
}

TEST(InodeTable, AnInodeCanBeTakenOut) {
  InodeTable table;
  Inode* const inode = table.Make(7);
  inode->attributes.size = 100;
  inode->whole_entry = 64;
  inode->kernel_references = 3;
  inode->detail = std::make_unique<InodeDetail>();
  inode->detail->xattrs["user.a"] = "1";
  const Inode taken(std::move(*inode));
  table.Drop(inode);
  EXPECT_EQ(taken.ino, 7u);
  EXPECT_EQ(taken.attributes.size, 100u);
  EXPECT_EQ(taken.whole_entry, 64u);
  EXPECT_EQ(taken.kernel_references, 3u);
  EXPECT_EQ(*taken.FindXattr("user.a"), "1");
}

}  // namespace
}  // namespace varve::fs
