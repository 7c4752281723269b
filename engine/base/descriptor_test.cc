#include "engine/base/descriptor.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "gtest/gtest.h"

namespace varve {
namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) != -1; }

class DescriptorTest : public ::testing::Test {
 protected:
  DescriptorTest() { EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0); }

  int ends_[2];
};

TEST_F(DescriptorTest, BelongsToOneOwner) {
  Descriptor reader(ends_[0]);
  {
    Descriptor first(ends_[1]);
    const Descriptor second(std::move(first));
    EXPECT_FALSE(first.valid());
    EXPECT_EQ(second.get(), ends_[1]);
  }
  // The last owner has closed it: the reader sees the end.
  char byte;
  EXPECT_EQ(read(reader.get(), &byte, 1), 0);
  reader.Reset();
  EXPECT_FALSE(reader.valid());
  EXPECT_FALSE(IsOpen(ends_[0]));
}

TEST_F(DescriptorTest, AssigningClosesWhatWasOwned) {
  Descriptor first(ends_[0]);
  Descriptor second(ends_[1]);
  first = std::move(second);
  EXPECT_EQ(first.get(), ends_[1]);
  EXPECT_FALSE(IsOpen(ends_[0]));
  EXPECT_TRUE(IsOpen(ends_[1]));
}

TEST_F(DescriptorTest, WhatIsReleasedStaysOpen) {
  Descriptor reader(ends_[0]);
  {
    Descriptor writer(ends_[1]);
    EXPECT_EQ(writer.Release(), ends_[1]);
    EXPECT_FALSE(writer.valid());
  }
  EXPECT_TRUE(IsOpen(ends_[1]));
  close(ends_[1]);
}

}  // namespace
}  // namespace varve
