#include "engine/base/status.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace varve {
namespace {

constexpr absl::string_view kPayloadType = "varve/errno";

// Abseil's mapping, except for the numbers for which Varve's headers promise
// another code.
absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case EWOULDBLOCK:
    case EROFS:
      return absl::StatusCode::kFailedPrecondition;
    case EISDIR:
      return absl::StatusCode::kInvalidArgument;
    case EOPNOTSUPP:
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::ErrnoToStatusCode(error_number);
  }
}

std::string ErrorText(int error_number) {
  char buffer[128];
  // The GNU variant, which may return a text of its own instead of `buffer`.
  return strerror_r(error_number, buffer, sizeof(buffer));
}

}  // namespace

absl::Status SystemError(int error_number, absl::string_view what) {
  return ErrorWithNumber(error_number,
                         absl::StrCat(what, ": ", ErrorText(error_number)));
}

absl::Status ErrorWithNumber(int error_number, absl::string_view message) {
  return ErrorWithCode(CodeOf(error_number), error_number, message);
}

absl::Status ErrorWithCode(absl::StatusCode code, int error_number,
                           absl::string_view message) {
  absl::Status status(code, message);
  status.SetPayload(kPayloadType,
                    absl::Cord(absl::string_view(absl::StrCat(error_number))));
  return status;
}

std::optional<int> SystemErrorNumber(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadType);
  int error_number = 0;
  if (!payload.has_value() ||
      !absl::SimpleAtoi(std::string(*payload), &error_number)) {
    return std::nullopt;
  }
  return error_number;
}

bool IsOutOfSpace(const absl::Status& status) {
  const std::optional<int> number = SystemErrorNumber(status);
  return number == ENOSPC || number == EDQUOT;
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(),
                         absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload(
      [&annotated](absl::string_view type, const absl::Cord& payload) {
        annotated.SetPayload(
            type, absl::Cord(absl::string_view(std::string(payload))));
      });
  return annotated;
}

}  // namespace varve
