#include "fs/base/error.h"

#include <errno.h>

#include "absl/strings/cord.h"
#include "engine/base/status.h"

namespace varve::fs {
namespace {

constexpr absl::string_view kFilePayload = "varve/file";

}  // namespace

absl::Status PosixError(int number) { return ErrorWithNumber(number, ""); }

absl::Status DamageError(absl::string_view message) {
  return absl::DataLossError(message);
}

absl::Status EarlyVersionError() {
  return absl::UnimplementedError(
      "the store was written by an early version of Varve, which this one "
      "cannot read; copy the files out with that version");
}

int ErrnoOf(const absl::Status& status) {
  if (status.ok()) return 0;
  if (const auto number = SystemErrorNumber(status)) return *number;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return ENOENT;
    case absl::StatusCode::kAlreadyExists:
      return EEXIST;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return EINVAL;
    case absl::StatusCode::kPermissionDenied:
      return EACCES;
    case absl::StatusCode::kResourceExhausted:
      return ENOSPC;
    case absl::StatusCode::kFailedPrecondition:
      return EROFS;
    case absl::StatusCode::kUnimplemented:
      return EOPNOTSUPP;
    case absl::StatusCode::kCancelled:
      return EINTR;
    default:
      return EIO;
  }
}

absl::Status WithFile(absl::Status status, absl::string_view path) {
  // An OK status keeps no payload.
  status.SetPayload(kFilePayload, absl::Cord(path));
  return status;
}

std::optional<std::string> PathOfFailure(const absl::Status& status) {
  const auto path = status.GetPayload(kFilePayload);
  if (!path.has_value()) return std::nullopt;
  return std::string(*path);
}

}  // namespace varve::fs
