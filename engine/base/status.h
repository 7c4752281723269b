// How errors travel in Varve.
//
// Every fallible function returns absl::Status or absl::StatusOr. The status of
// a failed system call carries its error number as a payload. So the places
// that must report a number (the FUSE edge, the command's exit status) can
// report exactly what the kernel said.
//
// Thread-safe: free functions without state.

#ifndef VARVE_ENGINE_BASE_STATUS_H_
#define VARVE_ENGINE_BASE_STATUS_H_

#include <optional>

#include "absl/base/optimization.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace varve {

// The status of a system call that failed with `error_number`. The message is
// "<what>: <text of the error>", the code is the closest canonical one.
// `error_number` must not be 0.
absl::Status SystemError(int error_number, absl::string_view what);

// A status that carries `error_number` like SystemError, but with the caller's
// own words instead of the system's text.
absl::Status ErrorWithNumber(int error_number, absl::string_view message);

// Like ErrorWithNumber, but with a code of the caller's choice, for interfaces
// that promise a code which does not follow from the error number.
absl::Status ErrorWithCode(absl::StatusCode code, int error_number,
                           absl::string_view message);

// The error number with which the status was made, which Annotate() keeps.
// Returns nothing for OK and for a status that was made without a number.
std::optional<int> SystemErrorNumber(const absl::Status& status);

// Whether the status says that the disk is full or the quota exhausted.
bool IsOutOfSpace(const absl::Status& status);

// Returns the same status (code, payloads) with "<context>: " before its
// message. OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace varve

// Returns from the enclosing function if `expr` is not OK.
#define VARVE_RETURN_IF_ERROR(expr)                \
  do {                                             \
    if (absl::Status varve_status_ = (expr);       \
        ABSL_PREDICT_FALSE(!varve_status_.ok())) { \
      return varve_status_;                        \
    }                                              \
  } while (false)

#define VARVE_STATUS_CONCAT_INNER_(a, b) a##b
#define VARVE_STATUS_CONCAT_(a, b) VARVE_STATUS_CONCAT_INNER_(a, b)

// VARVE_ASSIGN_OR_RETURN(auto x, StatusOrExpression());
#define VARVE_ASSIGN_OR_RETURN(lhs, expr) \
  VARVE_ASSIGN_OR_RETURN_IMPL_(           \
      VARVE_STATUS_CONCAT_(varve_status_or_, __LINE__), lhs, expr)
#define VARVE_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (ABSL_PREDICT_FALSE(!tmp.ok())) {               \
    return std::move(tmp).status();                  \
  }                                                  \
  lhs = std::move(tmp).value()

#endif  // VARVE_ENGINE_BASE_STATUS_H_
