#include "tools/varve/host_disk.h"

#include <gtest/gtest.h>

#include <vector>

namespace varve::tools {
namespace {

std::vector<MountInfo> Mounts() {
  return ParseMountInfo(
      "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
      "21 20 8:2 / /srv rw - ext4 /dev/sdb1 rw\n"
      "22 21 8:3 / /srv rw,noatime - ext4 /dev/sdc1 rw,emergency_ro\n"
      "23 20 8:4 / /old ro - ext4 /dev/sdd1 rw\n"
      "24 20 8:5 / /older rw - ext4 /dev/sde1 ro\n");
}

std::string SourceAround(const std::string& path) {
  return MountAround(Mounts(), path)->source;
}

TEST(HostDiskTest, TheInnermostMountIsTheDisk) {
  EXPECT_EQ(SourceAround("/home/a.varve"), "/dev/sda1");
  EXPECT_EQ(SourceAround("/srv/a.varve"), "/dev/sdc1");
  EXPECT_EQ(SourceAround("/srv"), "/dev/sdc1");
  EXPECT_EQ(SourceAround("/srvother/a.varve"), "/dev/sda1");
}

TEST(HostDiskTest, WithoutMountsThereIsNoDisk) {
  EXPECT_FALSE(MountAround({}, "/a").has_value());
}

TEST(HostDiskTest, MountFileSystemAndErrorsMakeItReadOnly) {
  const auto is_read_only = [](const std::string& path) {
    return IsReadOnlyDisk(*MountAround(Mounts(), path));
  };
  EXPECT_FALSE(is_read_only("/a"));
  EXPECT_TRUE(is_read_only("/srv/a"));
  EXPECT_TRUE(is_read_only("/old/a"));
  EXPECT_TRUE(is_read_only("/older/a"));
}

}  // namespace
}  // namespace varve::tools
