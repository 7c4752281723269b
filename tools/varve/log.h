// The log of a mount: standard error as long as there is somebody to read it,
// else the system's log (syslog(3), which is the journal under systemd).
//
// Thread-safe, but for the two functions that say where it goes.

#ifndef VARVE_TOOLS_VARVE_LOG_H_
#define VARVE_TOOLS_VARVE_LOG_H_

#include <string>

namespace varve::tools {

void LogToStandardError();
void LogToSystem();

// One line each.
void LogInfo(const std::string& line);
void LogWarning(const std::string& line);
void LogError(const std::string& line);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_LOG_H_
