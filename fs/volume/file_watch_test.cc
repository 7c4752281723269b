#include "fs/volume/file_watch.h"

#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "engine/base/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FileWatchTest : public testing::Test {
 protected:
  FileWatchTest() {
    auto store = Store::Open(path_, {.mode = OpenMode::kCreate});
    EXPECT_THAT(store, IsOk());
    core_.store = *std::move(store);
    EXPECT_THAT(core_.store->Write("key", Bytes(std::string(5000, 'x'))),
                IsOk());
  }

  const TemporaryDirectory directory_;
  const std::string path_ = directory_.File("store");
  std::vector<std::string> reports_;
  const Incidents incidents_{[this](const absl::Status& status) {
    reports_.emplace_back(status.message());
  }};
  Core core_;
  FileWatch watch_{core_, incidents_};
};

TEST_F(FileWatchTest, NothingIsReportedOfAFileInItsPlace) {
  EXPECT_EQ(*watch_.Locate(), FileLocation::kInPlace);
  watch_.Look();
  watch_.ReportIfDeleted();
  EXPECT_THAT(reports_, IsEmpty());
}

TEST_F(FileWatchTest, AMoveIsReportedOnceAndAgainAfterTheWayBack) {
  const std::string elsewhere = directory_.File("elsewhere");
  for (int i = 0; i < 2; ++i) {
    reports_.clear();
    ASSERT_EQ(rename(path_.c_str(), elsewhere.c_str()), 0);
    watch_.Look();
    watch_.Look();
    EXPECT_THAT(reports_, ElementsAre(HasSubstr("moved or replaced")));
    ASSERT_EQ(rename(elsewhere.c_str(), path_.c_str()), 0);
    watch_.Look();
  }
  EXPECT_EQ(reports_.size(), 1u);
}

TEST_F(FileWatchTest, DeletingIsReportedOnceAndAtTheEnd) {
  ASSERT_EQ(unlink(path_.c_str()), 0);
  EXPECT_EQ(*watch_.Locate(), FileLocation::kDeleted);
  watch_.Look();
  watch_.Look();
  EXPECT_THAT(reports_, ElementsAre(HasSubstr("was deleted while")));
  reports_.clear();
  watch_.ReportIfDeleted();
  EXPECT_THAT(reports_,
              ElementsAre(HasSubstr("everything in the mount is lost")));
}

TEST_F(FileWatchTest, ThatItWasCutShortIsReportedOnce) {
  ASSERT_EQ(truncate(path_.c_str(), 100), 0);
  watch_.Look();
  watch_.Look();
  EXPECT_THAT(reports_, ElementsAre(HasSubstr("serves only reads")));
}

}  // namespace
}  // namespace varve::fs
