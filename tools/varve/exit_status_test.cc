#include "tools/varve/exit_status.h"

#include <errno.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "gtest/gtest.h"

namespace varve::tools {
namespace {

TEST(ExitStatusTest, SuccessIsZero) {
  EXPECT_EQ(ExitStatusOf(absl::OkStatus()), ExitStatus::kOk);
  EXPECT_EQ(static_cast<int>(ExitStatus::kOk), 0);
}

TEST(ExitStatusTest, TheChosenOneCounts) {
  const absl::Status status = ExitError(ExitStatus::kRefused, "no");
  EXPECT_EQ(ExitStatusOf(status), ExitStatus::kRefused);
  EXPECT_EQ(status.message(), "no");
  EXPECT_EQ(ExitStatusOf(Annotate(status, "what")), ExitStatus::kRefused);
  EXPECT_EQ(ExitStatusOf(Explain(status, "what")), ExitStatus::kRefused);
}

TEST(ExitStatusTest, ItFollowsFromTheErrorNumber) {
  struct Case {
    int number;
    ExitStatus exit_status;
  };
  constexpr Case kCases[] = {
      {ENOENT, ExitStatus::kNotFound},    {EISDIR, ExitStatus::kWrongKind},
      {ENOTDIR, ExitStatus::kWrongKind},  {EACCES, ExitStatus::kNoPermission},
      {EPERM, ExitStatus::kNoPermission}, {EROFS, ExitStatus::kReadOnly},
      {EWOULDBLOCK, ExitStatus::kBusy},   {EBUSY, ExitStatus::kBusy},
      {ENOSPC, ExitStatus::kNoSpace},     {EDQUOT, ExitStatus::kNoSpace},
      {EEXIST, ExitStatus::kExists},      {EIO, ExitStatus::kFailure},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ(ExitStatusOf(SystemError(c.number, "x")), c.exit_status)
        << c.number;
    EXPECT_EQ(ExitStatusOf(fs::PosixError(c.number)), c.exit_status)
        << c.number;
  }
}

TEST(ExitStatusTest, DamageIsDamageWhateverItsNumber) {
  EXPECT_EQ(ExitStatusOf(absl::DataLossError("x")), ExitStatus::kDamage);
  EXPECT_EQ(ExitStatusOf(ErrorWithCode(absl::StatusCode::kDataLoss, EIO, "x")),
            ExitStatus::kDamage);
}

TEST(ExitStatusTest, ErrorsWithoutANumberGoByTheirCode) {
  EXPECT_EQ(ExitStatusOf(absl::NotFoundError("")), ExitStatus::kNotFound);
  EXPECT_EQ(ExitStatusOf(absl::UnimplementedError("")), ExitStatus::kTooNew);
  EXPECT_EQ(ExitStatusOf(absl::InvalidArgumentError("")), ExitStatus::kUsage);
  EXPECT_EQ(ExitStatusOf(absl::InternalError("")), ExitStatus::kFailure);
}

TEST(ExplainTest, FindsWordsWhereThereAreNone) {
  const absl::Status status =
      Explain(fs::PosixError(ENOTEMPTY), "cannot remove \"a\"");
  EXPECT_EQ(status.message(), "cannot remove \"a\": Directory not empty");
  EXPECT_EQ(SystemErrorNumber(status), ENOTEMPTY);
}

TEST(ExplainTest, KeepsTheWordsThatThereAre) {
  EXPECT_EQ(Explain(absl::DataLossError("bad"), "x").message(), "x: bad");
  EXPECT_TRUE(Explain(absl::OkStatus(), "x").ok());
}

TEST(ExitStatusHelpTest, ListsAllOfThem) {
  for (int number = 0; number <= static_cast<int>(ExitStatus::kTooNew);
       ++number) {
    EXPECT_TRUE(absl::StrContains(
        ExitStatusHelp(),
        absl::StrCat(number < 10 ? "\n   " : "\n  ", number, "  ")))
        << number;
  }
  EXPECT_TRUE(absl::StrContains(ExitStatusHelp(), "\n 130  "));
}

}  // namespace
}  // namespace varve::tools
