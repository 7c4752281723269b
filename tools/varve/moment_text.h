// Times of moments as the command prints them. Thread-safe: free functions
// without state.

#ifndef VARVE_TOOLS_VARVE_MOMENT_TEXT_H_
#define VARVE_TOOLS_VARVE_MOMENT_TEXT_H_

#include <string>

#include "absl/time/time.h"
#include "fs/format/timestamp.h"

namespace varve::tools {

// For people: local time, to the second.
inline std::string LocalTimeText(fs::Timestamp time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S",
                          absl::TimeFromTimespec(time.ToTimespec()),
                          absl::LocalTimeZone());
}

// For programs: UTC, to the nanosecond.
inline std::string JsonTimeText(fs::Timestamp time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ",
                          absl::TimeFromTimespec(time.ToTimespec()),
                          absl::UTCTimeZone());
}

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOMENT_TEXT_H_
