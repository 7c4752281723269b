#include "fs/block_source.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

constexpr size_t kPageSize = 4096;

// Of the pages of a block, those that take memory.
size_t PagesInMemory(void* block) {
  std::array<unsigned char, BlockSource::kAlignment / kPageSize> pages;
  // Fails for what is not mapped at all.
  if (mincore(block, BlockSource::kAlignment, pages.data()) != 0) return 0;
  return std::count_if(pages.begin(), pages.end(),
                       [](unsigned char page) { return (page & 1) != 0; });
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
  Allocate(4000);
  Shuffle();
  std::vector<void*> freed;
  const auto free_all_but = [&](size_t count) {
    while (blocks_.size() > count) {
      EXPECT_GT(PagesInMemory(blocks_.back().memory), 0u);
      freed.push_back(blocks_.back().memory);
      FreeLast();
    }
    return std::count_if(freed.begin(), freed.end(), PagesInMemory);
  };
  // First so that no region is empty, and no huge page whole. What malloc has
  // given may stay in the heap.
  EXPECT_LT(free_all_but(500), 150);
  EXPECT_LT(free_all_but(0), 150);
}

}  // namespace
}  // namespace varve::fs
