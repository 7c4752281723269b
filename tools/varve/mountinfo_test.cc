#include "tools/varve/mountinfo.h"

#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kTwoMounts[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "36 22 0:45 / /mnt/x rw,nosuid,nodev - fuse.varve /home/x.store "
    "rw,user_id=0\n";

TEST(MountInfoTest, ReadsDirectoryTypeAndSource) {
  const std::vector<MountInfo> mounts = ParseMountInfo(kTwoMounts);
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[1].id, 36u);
  EXPECT_EQ(mounts[1].parent_id, 22u);
  EXPECT_EQ(mounts[1].directory, "/mnt/x");
  EXPECT_EQ(mounts[1].type, "fuse.varve");
  EXPECT_EQ(mounts[1].source, "/home/x.store");
  EXPECT_EQ(mounts[1].device, "0:45");
  EXPECT_THAT(mounts[1].options, ElementsAre("rw", "nosuid", "nodev"));
  EXPECT_THAT(mounts[1].super_options, ElementsAre("rw", "user_id=0"));
  EXPECT_FALSE(mounts[0].is_varve());
  EXPECT_TRUE(mounts[1].is_varve());
}

TEST(MountInfoTest, TellsReadOnlyMountsApart) {
  const auto mounts = ParseMountInfo(
      "36 22 0:45 / /a ro,nosuid - fuse.varve /s rw\n"
      "37 22 0:46 / /b rw,norelatime - fuse.varve /s ro\n");
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_TRUE(mounts[0].read_only);
  EXPECT_FALSE(mounts[1].read_only);
}

TEST(MountInfoTest, AnyNumberOfOptionalFieldsMayStandBeforeTheDash) {
  for (const char* optional : {"", "shared:1 ", "shared:1 master:2 x "}) {
    const auto mounts = ParseMountInfo(std::string("36 22 0:45 / /m rw ") +
                                       optional + "- fuse.varve /s rw");
    ASSERT_EQ(mounts.size(), 1u) << optional;
    EXPECT_EQ(mounts[0].source, "/s");
  }
}

TEST(MountInfoTest, EscapesAreUndone) {
  const auto mounts = ParseMountInfo(
      "36 22 0:45 / /mnt/a\\040b\\134c rw - fuse.varve /s\\011t\\043 rw\n");
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].directory, "/mnt/a b\\c");
  EXPECT_EQ(mounts[0].source, "/s\tt#");
}

TEST(MountInfoTest, BackslashWithoutThreeDigitsStays) {
  const auto mounts =
      ParseMountInfo("36 22 0:45 / /a\\04 rw - fuse.varve /s\\9 rw\n");
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].directory, "/a\\04");
  EXPECT_EQ(mounts[0].source, "/s\\9");
}

TEST(MountInfoTest, MalformedLinesAreLeftOut) {
  EXPECT_THAT(ParseMountInfo(""), IsEmpty());
  EXPECT_THAT(ParseMountInfo("\n\n"), IsEmpty());
  EXPECT_THAT(ParseMountInfo("36 22 0:45 / /m rw"), IsEmpty());
  EXPECT_THAT(ParseMountInfo("36 22 0:45 / /m rw - fuse.varve"), IsEmpty());
  EXPECT_THAT(ParseMountInfo("x 22 0:45 / /m rw - fuse.varve /s rw"),
              IsEmpty());
}

TEST(MountInfoTest, FindsTheMountAtADirectory) {
  const auto mounts = ParseMountInfo(kTwoMounts);
  EXPECT_EQ(FindMountAt(mounts, "/mnt/x")->source, "/home/x.store");
  EXPECT_EQ(FindMountAt(mounts, "/")->type, "ext4");
  EXPECT_EQ(FindMountAt(mounts, "/mnt"), std::nullopt);
  EXPECT_EQ(FindMountAt(mounts, "/mnt/x/y"), std::nullopt);
}

TEST(MountInfoTest, OfMountsOnTopOfEachOtherTheTopmostIsFound) {
  // The order of the lines says nothing: numbers are used again.
  const auto mounts = ParseMountInfo(
      "50 36 0:47 / /m rw - fuse.varve /top rw\n"
      "36 44 0:46 / /m rw - fuse.varve /middle rw\n"
      "44 22 0:45 / /m rw - tmpfs bottom rw\n");
  EXPECT_EQ(FindMountAt(mounts, "/m")->source, "/top");
}

TEST(MountInfoTest, ListsWhereAStoreIsMounted) {
  const auto mounts = ParseMountInfo(
      "50 22 0:47 / /a rw - fuse.varve /s rw\n"
      "51 22 0:48 / /b rw - fuse.other /s rw\n"
      "52 22 0:49 / /c rw - fuse.varve /other rw\n"
      "53 22 0:50 / /d rw - fuse.varve /s rw\n");
  EXPECT_THAT(MountpointsOf(mounts, "/s"), ElementsAre("/a", "/d"));
  EXPECT_THAT(MountpointsOf(mounts, "/t"), IsEmpty());
}

TEST(MountInfoTest, ThisSystemHasARoot) {
  const auto mounts = ReadMountInfo();
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  EXPECT_TRUE(FindMountAt(*mounts, "/").has_value());
}

}  // namespace
}  // namespace varve::tools
