// Names of moments, as users write them, and finding the moments.
//
//   now                       the newest moment
//   NAME                      the snapshot of this name
//   last                      the newest snapshot
//   seq:N                     the moment after commit N
//   2026-11-28T22:00:00Z      a time: the last moment at or before it. With the
//   2026-11-28 22:00          zone of the host if none is given; the seconds,
//   2026-11-28                or the time of day, may be left out
//   @GMT-2026.11.28-22.00.00  the same as Samba writes it
//   2h, 7d, 1h30m             so long ago
//   yesterday                 24 hours ago
//
// A snapshot with such a name is meant before anything else. A time that is
// given to the second means the end of that second.

#ifndef VARVE_FS_HISTORY_MOMENT_NAMES_H_
#define VARVE_FS_HISTORY_MOMENT_NAMES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fs/log/core.h"
#include "fs/log/moments.h"

namespace varve::fs {

// The time that the text names, seen from `now`; nothing if it names none.
std::optional<absl::Time> ParseMomentTime(absl::string_view text,
                                          absl::Time now, absl::TimeZone zone);

// How long ago the text means, as "2h" or "yesterday"; nothing if it is no such
// text.
std::optional<absl::Duration> ParseAgo(absl::string_view text);

// The full hours of the last two days before `now`, and before them the days,
// in UTC, back to `since`, in ascending order; the newest 500 at most.
std::vector<Timestamp> HistoryPoints(absl::Time since, absl::Time now);

// The name of an automatic snapshot of that time.
std::string NameOfAutomatic(Timestamp time);

Timestamp ToTimestamp(absl::Time time);
absl::Time ToTime(Timestamp time);

// Where the moment lies that the text names. NOT_FOUND if there is no such
// moment, or it is not kept any more; INVALID_ARGUMENT if the text is no name
// of a moment and there is no such snapshot. Messages say what to write
// instead. DATA_LOSS if what leads there is damaged.
absl::StatusOr<MomentLocation> ResolveMoment(Core& core, absl::string_view text,
                                             Timestamp now)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

// Where the moment of this number lies; NOT_FOUND if it is not kept.
absl::StatusOr<MomentLocation> FindKeptMoment(Core& core, uint64_t sequence)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

// The moments that are the last at or before these times, which ascend; a
// moment only once, with the first of its times.
struct MomentAt {
  Timestamp time;
  uint64_t moment = 0;
};
absl::StatusOr<std::vector<MomentAt>> FindMomentsAt(
    Core& core, absl::Span<const Timestamp> times)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_MOMENT_NAMES_H_
