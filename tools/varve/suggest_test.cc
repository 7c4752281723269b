#include "tools/varve/suggest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace varve::tools {
namespace {

using ::testing::Optional;

TEST(Suggest, NamesTheNearestWord) {
  const std::vector<std::string> known = {"mount",   "umount", "rm", "mv",
                                          "compact", "check",  "ls"};
  EXPECT_THAT(Suggest("mout", known), Optional(std::string("mount")));
  EXPECT_THAT(Suggest("uomunt", known), Optional(std::string("umount")));
  EXPECT_THAT(Suggest("chekc", known), Optional(std::string("check")));
  EXPECT_THAT(Suggest("comp", known), Optional(std::string("compact")));
  EXPECT_THAT(Suggest("ks", known), Optional(std::string("ls")));
}

TEST(Suggest, IsSilentAboutWhatIsNotNear) {
  EXPECT_EQ(Suggest("frobnicate", {"mount", "check"}), std::nullopt);
  EXPECT_EQ(Suggest("x", {"ls", "rm"}), std::nullopt);
  EXPECT_EQ(Suggest("", {"l"}), std::nullopt);
  EXPECT_EQ(Suggest("mount", {}), std::nullopt);
}

}  // namespace
}  // namespace varve::tools
