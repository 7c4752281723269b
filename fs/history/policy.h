// HistoryPolicy: how long moments are kept, as a text such as "within=7d".
//
//   within=SPAN   all moments of the last SPAN: a number and s, m, h, d, w or
//   y,
//                 or 0 for none. History then takes at most as much room as
//                 what is live, or 64 MiB if that is more, and yields to a full
//                 disk, oldest first.
//   within=SPAN!  the same without these bounds
//
// Snapshots are kept in any case. Plain values: not thread-safe.

#ifndef VARVE_FS_HISTORY_POLICY_H_
#define VARVE_FS_HISTORY_POLICY_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace varve::fs {

struct HistoryPolicy {
  // The policy of a store in which none was set.
  static constexpr absl::string_view kDefault = "within=1d";

  absl::Duration within = absl::Hours(24);
  bool hard = false;  // "!"

  // INVALID_ARGUMENT, with a sentence that says what is possible, if the text
  // is no policy.
  static absl::StatusOr<HistoryPolicy> Parse(absl::string_view text);
  std::string Text() const;

  friend bool operator==(const HistoryPolicy&, const HistoryPolicy&) = default;
};

// A span of time as "90s", "30m", "2h", "1h30m", "7d", "2w" or "1y"; nothing if
// the text is none, or is negative. A day has 24 hours, a year 365 days.
std::optional<absl::Duration> ParseSpan(absl::string_view text);
// The same the other way round.
std::string FormatSpan(absl::Duration span);

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_POLICY_H_
