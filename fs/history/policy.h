// HistoryPolicy: how long moments are kept, and which snapshots are made by
// themselves, as a text such as "within=7d hourly=48 daily=30".
//
//   within=SPAN   all moments of the last SPAN: a number and s, m, h, d, w or
//                 y, or 0 for none; if there is no such rule, of the last day.
//                 History then takes at most as much room as what is live, or
//                 64 MiB if that is more, and yields to a full disk, oldest
//                 first.
//   within=SPAN!  the same without these bounds
//   hourly=N      a snapshot each hour in which something has changed, and the
//                 last one of each of the last N hours that have one is kept;
//   daily=N weekly=N monthly=N yearly=N    the same for other periods
//   zone=NAME     periods begin as in this time zone; else as in UTC
//
// Snapshots that a user has named are kept in any case. Plain values: not
// thread-safe.

#ifndef VARVE_FS_HISTORY_POLICY_H_
#define VARVE_FS_HISTORY_POLICY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace varve::fs {

// A period of the calendar. A week begins on Monday.
enum class Period : uint8_t { kHour, kDay, kWeek, kMonth, kYear };
inline constexpr size_t kPeriods = 5;

// The rule for periods of this kind, as in a policy: "hourly".
absl::string_view RuleOf(Period period);

struct HistoryPolicy {
  // The policy of a store in which none was set.
  static constexpr absl::string_view kDefault = "within=1d";

  absl::Duration within = absl::Hours(24);
  bool hard = false;  // "!"
  // For how many periods of each kind an automatic snapshot is kept.
  std::array<uint32_t, kPeriods> keep = {};
  std::string zone;  // "" is UTC

  // INVALID_ARGUMENT, with a sentence that says what is possible, if the text
  // is no policy.
  static absl::StatusOr<HistoryPolicy> Parse(absl::string_view text);
  std::string Text() const;

  uint32_t KeepOf(Period period) const {
    return keep[static_cast<size_t>(period)];
  }
  // The shortest period for which snapshots are kept; nothing if none are made.
  std::optional<Period> ShortestPeriod() const;
  // The time zone; UTC if the system does not know its name.
  absl::TimeZone TimeZone() const;

  friend bool operator==(const HistoryPolicy&, const HistoryPolicy&) = default;

 private:
  // Fails, without a message, if there is no such rule.
  absl::Status ReadRule(absl::string_view name, absl::string_view value);
};

// Where the period begins in which `time` lies.
absl::Time BeginOf(Period period, absl::Time time, absl::TimeZone zone);

// A span of time as "90s", "30m", "2h", "1h30m", "7d", "2w" or "1y"; nothing if
// the text is none, or is negative. A day has 24 hours, a year 365 days.
std::optional<absl::Duration> ParseSpan(absl::string_view text);
// The same the other way round.
std::string FormatSpan(absl::Duration span);

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_POLICY_H_
