#include "fs/tree/slabs.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

TEST(Slabs, ObjectsAreAlignedAndApart) {
  Slabs slabs(13);
  std::vector<void*> objects;
  for (int i = 0; i < 10'000; ++i) {
    objects.push_back(slabs.Allocate());
    std::memset(objects.back(), i, 13);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(objects.back()) % 8, 0u);
  }
  std::sort(objects.begin(), objects.end());
  for (size_t i = 1; i < objects.size(); ++i) {
    ASSERT_GE(
        static_cast<char*>(objects[i]) - static_cast<char*>(objects[i - 1]),
        16);
  }
  EXPECT_LE(slabs.block_count(), 10'000u * 16 / 32'000 + 1);
  for (void* object : objects) Slabs::Free(object);
}

TEST(Slabs, FreedObjectsAreUsedAgain) {
  Slabs slabs(100);
  std::vector<void*> objects;
  for (int i = 0; i < 1000; ++i) objects.push_back(slabs.Allocate());
  const size_t blocks = slabs.block_count();
  std::mt19937 random(1);
  std::shuffle(objects.begin(), objects.end(), random);
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 500; ++i) {
      Slabs::Free(objects.back());
      objects.pop_back();
    }
    for (int i = 0; i < 500; ++i) objects.push_back(slabs.Allocate());
    std::shuffle(objects.begin(), objects.end(), random);
  }
  EXPECT_LE(slabs.block_count(), blocks + 1);
  for (void* object : objects) Slabs::Free(object);
}

TEST(Slabs, EmptyBlocksAreGivenBack) {
  Slabs slabs(64);
  std::vector<void*> objects;
  for (int i = 0; i < 100'000; ++i) objects.push_back(slabs.Allocate());
  EXPECT_GT(slabs.block_count(), 100u);
  for (void* object : objects) Slabs::Free(object);
  EXPECT_LE(slabs.block_count(), 1u);
}

}  // namespace
}  // namespace varve::fs
