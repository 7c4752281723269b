#include "fs/btree/node.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

std::string ThreeItems() {
  NodeBuilder builder;
  builder.Add("dir/a", "1");
  builder.Add("dir/b", "");
  builder.Add("dir/bcd", "three");
  return builder.Build(0);
}

TEST(Node, GivesBackItsItems) {
  const std::string bytes = ThreeItems();
  const NodeView node(bytes);
  ASSERT_THAT(node.Check(), IsOk());
  EXPECT_EQ(node.level(), 0);
  EXPECT_FALSE(node.is_delta());
  ASSERT_EQ(node.count(), 3);
  EXPECT_EQ(node.prefix(), "dir/");
  EXPECT_EQ(node.key(0), "dir/a");
  EXPECT_EQ(node.key(2), "dir/bcd");
  EXPECT_EQ(node.value(0), "1");
  EXPECT_EQ(node.value(1), "");
  EXPECT_EQ(node.value(2), "three");
}

TEST(Node, FindsKeysInAndBesideItsPrefix) {
  const std::string bytes = ThreeItems();
  const NodeView node(bytes);
  EXPECT_EQ(node.LowerBound(""), 0);
  EXPECT_EQ(node.LowerBound("d"), 0);
  EXPECT_EQ(node.LowerBound("dir/"), 0);
  EXPECT_EQ(node.LowerBound("dir/b"), 1);
  EXPECT_EQ(node.LowerBound("dir/bb"), 2);
  EXPECT_EQ(node.LowerBound("dir/z"), 3);
  EXPECT_EQ(node.LowerBound("dis"), 3);
  EXPECT_EQ(node.LowerBound("\xff"), 3);
}

// The example of docs/format.md, byte for byte.
TEST(Node, HasTheBytesOfTheDocument) {
  NodeBuilder builder;
  builder.Add("ab", "x");
  builder.Add("ac", "yz");
  const std::string bytes = builder.Build(0);
  const char expected[] =
      "\x00\x00\x02\x00\x01\x00\x00\x00"  // level, flags, count, prefix
      "a"                                 //
      "\x0d\x00\x13\x00"                  // slots
      "\x01\x00\x01\x00"
      "bx"  //
      "\x01\x00\x02\x00"
      "cyz";
  EXPECT_EQ(bytes, std::string(expected, sizeof(expected) - 1));
}

TEST(Node, DeltaNamesItsBaseAndErasedItems) {
  std::string base;
  EncodePointer({.segment = 10, .offset = 640, .size = 99, .checksum = 7},
                &base);
  NodeBuilder builder;
  builder.AddErased("a");
  builder.Add("b", "new");
  const std::string bytes = builder.Build(0, base);
  const NodeView node(bytes);
  ASSERT_THAT(node.Check(), IsOk());
  EXPECT_TRUE(node.is_delta());
  EXPECT_TRUE(node.is_erased(0));
  EXPECT_FALSE(node.is_erased(1));
  EXPECT_EQ(node.value(1), "new");
  const auto pointer = DecodePointer(node.base());
  ASSERT_THAT(pointer, IsOk());
  EXPECT_EQ(pointer->segment, 10);
  EXPECT_EQ(pointer->offset, 640);
  EXPECT_EQ(pointer->checksum, 7);
  EXPECT_EQ(pointer->size, 99);
}

TEST(Node, PointerOfWrongLengthOrNumberIsDamage) {
  std::string bytes;
  EncodePointer({.segment = 3, .offset = 36, .size = 1}, &bytes);
  ASSERT_THAT(DecodePointer(bytes), IsOk());
  EXPECT_THAT(DecodePointer(bytes + "x"), HasCode(kDataLoss));
  EXPECT_THAT(DecodePointer(bytes.substr(1)), HasCode(kDataLoss));
  EXPECT_THAT(DecodePointer(""), HasCode(kDataLoss));
  // A segment number of more than 32 bits.
  const std::string beyond = "\xff\xff\xff\xff\x1f" + bytes.substr(1);
  EXPECT_THAT(DecodePointer(beyond), HasCode(kDataLoss));
}

// Whichever byte changes, Check() refuses the node, or the node is another
// sound one whose accessors stay inside (the address sanitizer checks that).
TEST(Node, EveryChangedByteIsRefusedOrHarmless) {
  const std::string sound = ThreeItems();
  int refused = 0;
  for (size_t i = 0; i < sound.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      const std::string copy = absl::StrCat(
          sound.substr(0, i), std::string(1, char(value)), sound.substr(i + 1));
      // In memory of exactly this size.
      const auto exact = std::make_unique<char[]>(copy.size());
      std::copy(copy.begin(), copy.end(), exact.get());
      const NodeView node(absl::string_view(exact.get(), copy.size()));
      refused += node.Check().ok() ? 0 : 1;
      for (size_t k = 0; k < std::min<size_t>(node.count(), 300); ++k) {
        EXPECT_LE(node.key(k).size() + node.value(k).size(), 2 * copy.size());
        node.Compare(k, "dir/b");
      }
      node.LowerBound("dir/b");
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(Node, CutShortIsRefused) {
  const std::string sound = ThreeItems();
  for (size_t size = 0; size < sound.size(); ++size) {
    EXPECT_THAT(NodeView(absl::string_view(sound).substr(0, size)).Check(),
                HasCode(kDataLoss));
  }
  EXPECT_THAT(NodeView(sound + "x").Check(), HasCode(kDataLoss));
}

TEST(Node, HalvesHoldAllItems) {
  NodeBuilder builder;
  for (int i = 100; i < 200; ++i) builder.Add(absl::StrCat("key", i), "value");
  const size_t size = builder.size();
  const std::string first = builder.BuildFirstHalf(0);
  const std::string second = builder.Build(0);
  const NodeView a(first);
  const NodeView b(second);
  ASSERT_THAT(a.Check(), IsOk());
  ASSERT_THAT(b.Check(), IsOk());
  EXPECT_EQ(a.count() + b.count(), 100);
  EXPECT_LT(a.key(a.count() - 1), b.key(0));
  EXPECT_LT(first.size(), size * 6 / 10);
  EXPECT_LT(second.size(), size * 6 / 10);
}

TEST(Node, SizeIsKnownBeforeItIsBuilt) {
  NodeBuilder builder;
  EXPECT_EQ(builder.count(), 0);
  for (int i = 10; i < 60; ++i) {
    builder.Add(absl::StrCat("some/", i), std::string(size_t(i), 'v'));
  }
  const size_t size = builder.size();
  EXPECT_EQ(builder.Build(0).size(), size);
}

}  // namespace
}  // namespace varve::fs
