#include "fs/block_source.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// Of pages that are this process's own.
size_t MemoryInUse() {
  std::ifstream status("/proc/self/smaps_rollup");
  std::string word;
  while (status >> word) {
    if (word != "Private_Dirty:") continue;
    size_t kib = 0;
    status >> kib;
    return kib << 10;
  }
  ADD_FAILURE() << "no figure for memory";
  return 0;
}

class BlockSourceTest : public testing::Test {
 protected:
  ~BlockSourceTest() override {
    while (!blocks_.empty()) FreeLast();
  }

  // Each block is filled with its own number.
  void Allocate(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      blocks_.push_back({.memory = source_.Allocate(), .mark = next_mark_++});
      std::memset(blocks_.back().memory, blocks_.back().mark,
                  BlockSource::kBlockSize);
    }
  }

  void FreeLast() {
    const Block& last = blocks_.back();
    const auto* bytes = static_cast<const uint8_t*>(last.memory);
    EXPECT_EQ(std::count(bytes, bytes + BlockSource::kBlockSize, last.mark),
              BlockSource::kBlockSize);
    source_.Free(last.memory);
    blocks_.pop_back();
  }

  void Shuffle() { std::shuffle(blocks_.begin(), blocks_.end(), random_); }

  struct Block {
    void* memory;
    uint8_t mark;
  };

  BlockSource source_;
  std::vector<Block> blocks_;
  uint8_t next_mark_ = 1;
  std::mt19937 random_{1};
};

TEST_F(BlockSourceTest, BlocksAreAlignedAndApart) {
  for (const size_t count : {1, 100, 1000}) {
    Allocate(count);
    for (const Block& block : blocks_) {
      EXPECT_EQ(
          reinterpret_cast<uintptr_t>(block.memory) % BlockSource::kAlignment,
          0u);
    }
    EXPECT_EQ(source_.block_count(), blocks_.size());
  }
}

TEST_F(BlockSourceTest, BlocksComeAndGoInAnyOrder) {
  Allocate(500);
  for (int round = 0; round < 50; ++round) {
    Shuffle();
    const size_t count = random_() % 400;
    for (size_t i = 0; i < count; ++i) FreeLast();
    Allocate(count);
    ASSERT_EQ(source_.block_count(), 500u);
  }
}

TEST_F(BlockSourceTest, MemoryOfFreedBlocksIsGivenBack) {
  const size_t before = MemoryInUse();
  Allocate(4000);
  EXPECT_GT(MemoryInUse(), before + 100 * kMiB);
  // No region is empty, and no huge page whole.
  Shuffle();
  for (int i = 0; i < 3500; ++i) FreeLast();
  EXPECT_LT(MemoryInUse(), before + 32 * kMiB);
  while (!blocks_.empty()) FreeLast();
  EXPECT_LT(MemoryInUse(), before + 8 * kMiB);
}

}  // namespace
}  // namespace varve::fs
