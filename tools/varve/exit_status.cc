#include "tools/varve/exit_status.h"

#include <errno.h>
#include <string.h>

#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "fs/base/error.h"

namespace varve::tools {
namespace {

constexpr absl::string_view kPayloadType = "varve/exit";

struct Meaning {
  ExitStatus exit_status;
  const char* text;
};

constexpr Meaning kMeanings[] = {
    {ExitStatus::kOk, "done"},
    {ExitStatus::kFailure, "any other failure"},
    {ExitStatus::kUsage, "unknown command or option, or a missing argument"},
    {ExitStatus::kNotFound, "no such store, mountpoint, path or key"},
    {ExitStatus::kDamage, "the store is damaged"},
    {ExitStatus::kNotAStore, "the file is not a store"},
    {ExitStatus::kWrongKind,
     "a directory where a file is needed, or the reverse"},
    {ExitStatus::kNoPermission, "permission denied"},
    {ExitStatus::kNotChecked, "`varve check` could not check the store"},
    {ExitStatus::kReadOnly, "the store or its disk is read-only"},
    {ExitStatus::kBusy, "in use: by another writer, or busy when unmounting"},
    {ExitStatus::kNoFuse, "FUSE is not available on this system"},
    {ExitStatus::kNoSpace, "no space or quota left"},
    {ExitStatus::kExists, "exists already"},
    {ExitStatus::kRefused, "not possible here; the message says why"},
    {ExitStatus::kTooNew, "the store needs a newer version of Varve"},
    {ExitStatus::kCutShort, "the store is cut short, or was not closed"},
    {ExitStatus::kTrouble, "`varve doctor` has found a problem"},
    {ExitStatus::kCancelled, "cancelled, by Ctrl-C for example"},
};

ExitStatus FromErrorNumber(int number) {
  switch (number) {
    case ENOENT:
      return ExitStatus::kNotFound;
    case EISDIR:
    case ENOTDIR:
      return ExitStatus::kWrongKind;
    case EACCES:
    case EPERM:
      return ExitStatus::kNoPermission;
    case EROFS:
      return ExitStatus::kReadOnly;
    case EAGAIN:
    case EBUSY:
    case ETXTBSY:
      return ExitStatus::kBusy;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return ExitStatus::kNoSpace;
    case EEXIST:
    case ENOTEMPTY:
      return ExitStatus::kExists;
    default:
      return ExitStatus::kFailure;
  }
}

ExitStatus FromCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return ExitStatus::kOk;
    case absl::StatusCode::kInvalidArgument:
      return ExitStatus::kUsage;
    case absl::StatusCode::kNotFound:
      return ExitStatus::kNotFound;
    case absl::StatusCode::kAlreadyExists:
      return ExitStatus::kExists;
    case absl::StatusCode::kPermissionDenied:
      return ExitStatus::kNoPermission;
    case absl::StatusCode::kResourceExhausted:
      return ExitStatus::kNoSpace;
    case absl::StatusCode::kDataLoss:
      return ExitStatus::kDamage;
    case absl::StatusCode::kUnimplemented:
      return ExitStatus::kTooNew;
    default:
      return ExitStatus::kFailure;
  }
}

}  // namespace

std::string ExitStatusHelp() {
  std::string help = "Exit status:\n";
  for (const Meaning& meaning : kMeanings) {
    absl::StrAppendFormat(&help, " %3d  %s\n",
                          static_cast<int>(meaning.exit_status), meaning.text);
  }
  return help;
}

absl::Status ExitError(ExitStatus exit_status, absl::string_view message) {
  absl::Status status(absl::StatusCode::kUnknown, message);
  status.SetPayload(kPayloadType,
                    absl::Cord(absl::StrCat(static_cast<int>(exit_status))));
  return status;
}

ExitStatus ExitStatusOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kPayloadType)) {
    int number = 0;
    if (absl::SimpleAtoi(std::string(*payload), &number)) {
      return static_cast<ExitStatus>(number);
    }
  }
  // Damage counts as damage, whatever errno a reader of the bytes would get.
  const std::optional<int> number = SystemErrorNumber(status);
  if (number.has_value() && !absl::IsDataLoss(status)) {
    return FromErrorNumber(*number);
  }
  return FromCode(status.code());
}

absl::Status Explain(const absl::Status& status, absl::string_view what) {
  if (!status.message().empty() || status.ok()) return Annotate(status, what);
  char buffer[128];
  // The GNU variant, which may return a text of its own instead of `buffer`.
  const char* reason = strerror_r(fs::ErrnoOf(status), buffer, sizeof(buffer));
  return ErrorWithCode(status.code(), fs::ErrnoOf(status),
                       absl::StrCat(what, ": ", reason));
}

}  // namespace varve::tools
