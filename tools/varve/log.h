// The log of a mount. It goes to standard error while the command is in the
// foreground, and to the system's log afterwards. If that is systemd's journal,
// each line comes with fields: PRIORITY, SYSLOG_IDENTIFIER, VARVE_STORE,
// VARVE_UUID, and for a failure VARVE_OPERATION, VARVE_FILE and ERRNO, as far
// as they are known.
//
// Thread-safe, except for the functions that set where it goes.

#ifndef VARVE_TOOLS_VARVE_LOG_H_
#define VARVE_TOOLS_VARVE_LOG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace varve::tools {

// Logs to standard error, or with fields to the journal if standard error leads
// there.
void LogToStandardError();
// Logs to the journal if there is one, else by syslog(3).
void LogToSystem();
// Sets the store that the following lines are about; empty for none.
void SetLogStore(const std::string& path, const std::string& uuid);

// Each logs one line.
void LogInfo(const std::string& line);
void LogWarning(const std::string& line);
void LogError(const std::string& line);
// Logs "operation: message", or the message alone if `operation` is empty.
void LogFailure(const absl::Status& status, absl::string_view operation);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_LOG_H_
