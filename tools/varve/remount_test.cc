#include "tools/varve/remount.h"

#include <sys/mount.h>

#include "gtest/gtest.h"

namespace varve::tools {
namespace {

TEST(RemountTest, WhatIsNotNamedStays) {
  EXPECT_EQ(FlagsAfter({"rw", "nosuid", "relatime", "rw", "user_id=0"}, {}),
            static_cast<unsigned long>(MS_NOSUID | MS_RELATIME));
  EXPECT_EQ(FlagsAfter({"rw", "nosuid"}, {"ro", "threads=2", "remount"}),
            static_cast<unsigned long>(MS_NOSUID | MS_RDONLY));
}

TEST(RemountTest, TheLastOneCounts) {
  EXPECT_EQ(FlagsAfter({"ro", "noexec"}, {"ro", "rw", "exec", "noexec"}),
            static_cast<unsigned long>(MS_NOEXEC));
}

TEST(RemountTest, ReadOnlyInOnePlaceIsReadOnly) {
  EXPECT_EQ(FlagsAfter({"ro", "rw"}, {}),
            static_cast<unsigned long>(MS_RDONLY));
  EXPECT_EQ(FlagsAfter({"rw", "ro"}, {}),
            static_cast<unsigned long>(MS_RDONLY));
}

}  // namespace
}  // namespace varve::tools
