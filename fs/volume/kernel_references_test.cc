#include "fs/volume/kernel_references.h"

#include <cstdint>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

TEST(KernelReferences, CountsEachInodeByItself) {
  KernelReferences references;
  // Neighbours, some of them in different pages, and the extremes.
  const std::vector<uint64_t> inodes = {
      1, 2, 254, 255, 256, 257, 511, 512, uint64_t{1} << 60, ~uint64_t{0}};
  for (size_t i = 0; i < inodes.size(); ++i) {
    for (size_t n = 0; n <= i; ++n) references.Add(inodes[i]);
  }
  for (size_t i = 0; i < inodes.size(); ++i) {
    EXPECT_EQ(references.CountOf(inodes[i]), i + 1) << inodes[i];
    EXPECT_EQ(references.Remove(inodes[i], i), false) << inodes[i];
    EXPECT_EQ(references.CountOf(inodes[i]), 1);
    EXPECT_TRUE(references.Remove(inodes[i], 1));
    EXPECT_EQ(references.CountOf(inodes[i]), 0);
  }
}

// The kernel never does this, but a program that can write to its channel
// might.
TEST(KernelReferences, CannotTakeBackMoreThanThereAre) {
  KernelReferences references;
  EXPECT_FALSE(references.Remove(7, 1));
  references.Add(7);
  EXPECT_TRUE(references.Remove(7, uint64_t{1} << 40));
  EXPECT_EQ(references.CountOf(7), 0);
  EXPECT_FALSE(references.Remove(7, 1));
}

TEST(KernelReferences, ManyThreadsAtOnce) {
  KernelReferences references;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&references] {
      for (int round = 0; round < 3; ++round) {
        for (uint64_t ino = 1; ino < 10000; ++ino) references.Add(ino);
        for (uint64_t ino = 2; ino < 10000; ++ino) references.Remove(ino, 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(references.CountOf(1), 12);
  for (uint64_t ino = 2; ino < 10000; ++ino) {
    ASSERT_EQ(references.CountOf(ino), 0) << ino;
  }
}

}  // namespace
}  // namespace varve::fs
