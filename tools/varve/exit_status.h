// What the command ends with. Every failure of a command is an absl::Status
// whose message is one sentence for the user; its exit status is the one that
// was attached here, else it follows from the error number or the code.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_EXIT_STATUS_H_
#define VARVE_TOOLS_VARVE_EXIT_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace varve::tools {

// Numbers that scripts rely on; exit_status.cc says what each means.
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
  kCancelled = 130,  // as shells say of SIGINT
};

// The table of all of them, for `varve --help`.
std::string ExitStatusHelp();

// A failure with a sentence and an exit status of the caller's choice. An empty
// message means that everything has been said already.
absl::Status ExitError(ExitStatus exit_status, absl::string_view message);

ExitStatus ExitStatusOf(const absl::Status& status);

// The same failure as "<what>: <reason>". Unlike Annotate() it finds words for
// the errors of fs/, which come without any. OK stays OK.
absl::Status Explain(const absl::Status& status, absl::string_view what);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_EXIT_STATUS_H_
