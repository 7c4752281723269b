// The log of a mount: standard error as long as there is somebody to read it,
// else the system's log. Where that is the journal of systemd, it gets fields
// besides the line: PRIORITY, SYSLOG_IDENTIFIER, VARVE_STORE, VARVE_UUID, and
// of a failure VARVE_OPERATION, VARVE_FILE and ERRNO, as far as they are known.
//
// Thread-safe, but for the functions that say where it goes.

#ifndef VARVE_TOOLS_VARVE_LOG_H_
#define VARVE_TOOLS_VARVE_LOG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace varve::tools {

// To the journal by itself if standard error leads there.
void LogToStandardError();
// To the journal if there is one, else by syslog(3).
void LogToSystem();
// What the lines are about from now on; empty for nothing.
void SetLogStore(const std::string& path, const std::string& uuid);

// One line each.
void LogInfo(const std::string& line);
void LogWarning(const std::string& line);
void LogError(const std::string& line);
// "operation: message", or the message alone if `operation` is empty.
void LogFailure(const absl::Status& status, absl::string_view operation);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_LOG_H_
