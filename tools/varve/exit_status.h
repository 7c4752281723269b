// The exit status of the command. Every failure of a command is an absl::Status
// whose message is one sentence for the user. Its exit status is the one that
// ExitError() attached; otherwise it follows from the error number or the code.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_EXIT_STATUS_H_
#define VARVE_TOOLS_VARVE_EXIT_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace varve::tools {

// Scripts rely on these numbers; exit_status.cc says what each means.
enum class ExitStatus : int {
  kOk = 0,
  kFailure = 1,
  kUsage = 2,
  kNotFound = 3,
  kDamage = 4,
  kNotAStore = 5,
  kWrongKind = 6,
  kNoPermission = 7,
  kNotChecked = 8,
  kReadOnly = 9,
  kBusy = 10,
  kNoFuse = 11,
  kNoSpace = 12,
  kExists = 13,
  kRefused = 14,
  kTooNew = 15,
  kCutShort = 16,
  kTrouble = 17,
  kCancelled = 130,  // as shells report SIGINT
};

// The table of all exit statuses, for `varve --help`.
std::string ExitStatusHelp();

// A failure with a sentence and an exit status of the caller's choice. An empty
// message means that the failure has already been printed.
absl::Status ExitError(ExitStatus exit_status, absl::string_view message);

ExitStatus ExitStatusOf(const absl::Status& status);

// Returns the same failure as "<what>: <reason>". Unlike Annotate(), it finds a
// text for the errors of fs/, which have none. OK stays OK.
absl::Status Explain(const absl::Status& status, absl::string_view what);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_EXIT_STATUS_H_
