#include "engine/base/status.h"

#include <cerrno>

#include "engine/base/test_util.h"

namespace varve {
namespace {

TEST(StatusTest, SystemErrorKeepsItsNumber) {
  const absl::Status status = SystemError(ENOSPC, "cannot write x");
  EXPECT_EQ(status.message(), "cannot write x: No space left on device");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(SystemErrorNumber(status), ENOSPC);
}

TEST(StatusTest, CodesThatInterfacesPromise) {
  EXPECT_THAT(ErrorWithNumber(EWOULDBLOCK, "m"),
              HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(ErrorWithNumber(EROFS, "m"),
              HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(ErrorWithNumber(EOPNOTSUPP, "m"),
              HasCode(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(ErrorWithNumber(ENOENT, "m"),
              HasCode(absl::StatusCode::kNotFound));
  EXPECT_THAT(ErrorWithNumber(EEXIST, "m"),
              HasCode(absl::StatusCode::kAlreadyExists));
}

TEST(StatusTest, OtherStatusesHaveNoNumber) {
  EXPECT_EQ(SystemErrorNumber(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(SystemErrorNumber(absl::InternalError("x")), std::nullopt);
}

TEST(StatusTest, AnnotationKeepsCodeAndNumber) {
  const absl::Status status = Annotate(
      ErrorWithCode(absl::StatusCode::kDataLoss, EIO, "bad block"), "store s");
  EXPECT_EQ(status.message(), "store s: bad block");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(SystemErrorNumber(status), EIO);
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("odd");
  return value / 2;
}

absl::StatusOr<int> Quarter(int value) {
  VARVE_ASSIGN_OR_RETURN(const int half, Half(value));
  VARVE_RETURN_IF_ERROR(Half(half).status());
  return Half(half);
}

TEST(StatusTest, MacrosReturnEarly) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_THAT(Quarter(7), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Quarter(6), HasCode(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace varve
