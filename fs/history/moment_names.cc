#include "fs/history/moment_names.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/status.h"
#include "fs/history/policy.h"

namespace varve::fs {
namespace {

constexpr const char* kForms[] = {
    "%Y-%m-%d%ET%H:%M:%E*S%Ez", "%Y-%m-%d%ET%H:%M:%E*S", "%Y-%m-%d %H:%M:%E*S",
    "%Y-%m-%d%ET%H:%M",         "%Y-%m-%d %H:%M",        "%Y-%m-%d",
};
constexpr char kSambaForm[] = "@GMT-%Y.%m.%d-%H.%M.%S";

// The end of the second that begins at `time`, unless it is within one.
absl::Time EndOf(absl::Time time) {
  const absl::Duration within =
      time - absl::FromUnixSeconds(absl::ToUnixSeconds(time));
  return within > absl::ZeroDuration()
             ? time
             : time + absl::Seconds(1) - absl::Nanoseconds(1);
}

absl::Status NotKept(absl::string_view text, uint64_t oldest) {
  return absl::NotFoundError(
      absl::StrCat("no moment '", text, "' is kept; all are from seq:", oldest,
                   " on, and before that those that are snapshots"));
}

class Resolver {
 public:
  Resolver(Core& core, absl::string_view text) : core_(core), text_(text) {}

  // Reads what the tree says of moments. Call it first.
  absl::Status Read();
  absl::StatusOr<MomentLocation> Resolve(Timestamp now) const;
  absl::StatusOr<MomentLocation> OfSequence(uint64_t sequence) const;
  absl::StatusOr<MomentLocation> AtTime(Timestamp time) const;

 private:
  absl::StatusOr<MomentLocation> OfSnapshot(uint64_t sequence) const;

  Core& core_;
  const absl::string_view text_;
  uint64_t kept_from_ = 0;
  uint64_t last_ = 0;
  struct Snapshot {
    uint64_t sequence;
    Timestamp time;
  };
  std::vector<Snapshot> snapshots_;
  // The number of the snapshot that the text is the name of.
  std::optional<uint64_t> named_;
  std::vector<MomentLocation> places_;
};

absl::Status Resolver::Read() {
  absl::MutexLock commit_lock(&core_.commit_mu);
  absl::ReaderMutexLock lock(&core_.tree_mu);
  last_ = core_.last_sequence;
  places_ = core_.snapshots;
  VARVE_ASSIGN_OR_RETURN(kept_from_, core_.reader().KeptFrom());
  return core_.reader().ForEachSnapshot([this](const SnapshotItem& snapshot) {
    snapshots_.push_back({snapshot.sequence, snapshot.time});
    if (snapshot.name == text_) named_ = snapshot.sequence;
    return true;
  });
}

absl::StatusOr<MomentLocation> Resolver::OfSnapshot(uint64_t sequence) const {
  for (const MomentLocation& place : places_) {
    if (place.sequence == sequence) return place;
  }
  return absl::NotFoundError(absl::StrCat(
      "the snapshot '", text_,
      "' can no longer be read: another program has compacted the store"));
}

absl::StatusOr<MomentLocation> Resolver::OfSequence(uint64_t sequence) const {
  for (const Snapshot& snapshot : snapshots_) {
    if (snapshot.sequence == sequence) return OfSnapshot(sequence);
  }
  if (sequence < std::max<uint64_t>(kept_from_, 1) || sequence > last_) {
    return NotKept(text_, std::max<uint64_t>(kept_from_, 1));
  }
  return FinderOf(core_).Find(sequence);
}

absl::StatusOr<MomentLocation> Resolver::AtTime(Timestamp time) const {
  VARVE_ASSIGN_OR_RETURN(const auto found,
                         FinderOf(core_).FindAt(time, kept_from_));
  if (found.has_value()) return *found;
  const Snapshot* best = nullptr;
  for (const Snapshot& snapshot : snapshots_) {
    const bool fits = snapshot.time <= time && snapshot.sequence < kept_from_;
    if (fits && (best == nullptr || snapshot.sequence > best->sequence)) {
      best = &snapshot;
    }
  }
  if (best == nullptr) return NotKept(text_, std::max<uint64_t>(kept_from_, 1));
  return OfSnapshot(best->sequence);
}

absl::StatusOr<MomentLocation> Resolver::Resolve(Timestamp now) const {
  if (named_.has_value()) return OfSnapshot(*named_);
  if (text_ == "now") return FinderOf(core_).Find(last_);
  if (text_ == "last") {
    if (snapshots_.empty()) {
      return absl::NotFoundError("there is no snapshot yet");
    }
    const auto newest =
        std::max_element(snapshots_.begin(), snapshots_.end(),
                         [](const Snapshot& a, const Snapshot& b) {
                           return a.sequence < b.sequence;
                         });
    return OfSnapshot(newest->sequence);
  }
  absl::string_view number = text_;
  uint64_t sequence = 0;
  if (absl::ConsumePrefix(&number, "seq:") &&
      absl::SimpleAtoi(number, &sequence)) {
    return OfSequence(sequence);
  }
  const std::optional<absl::Time> time =
      ParseMomentTime(text_, ToTime(now), absl::LocalTimeZone());
  if (time.has_value()) return AtTime(ToTimestamp(*time));
  return absl::InvalidArgumentError(absl::StrCat(
      "there is no snapshot '", text_,
      "', and it is no time either; write a time as 2026-11-28T22:00:00Z, "
      "'2026-11-28 22:00', 2h or yesterday, or a commit as seq:123"));
}

}  // namespace

Timestamp ToTimestamp(absl::Time time) {
  return Timestamp::From(absl::ToTimespec(time));
}

absl::Time ToTime(Timestamp time) {
  return absl::TimeFromTimespec(time.ToTimespec());
}

std::vector<Timestamp> HistoryPoints(absl::Time since, absl::Time now) {
  constexpr absl::Duration kHours = absl::Hours(48);
  constexpr size_t kMost = 500;
  std::vector<Timestamp> points;
  absl::Duration step = absl::Hours(1);
  absl::Time at =
      absl::UnixEpoch() + absl::Floor(now - absl::UnixEpoch(), step);
  while (at >= since && at > absl::UnixEpoch() && points.size() < kMost) {
    points.push_back(ToTimestamp(at));
    if (step < absl::Hours(24) && now - at >= kHours) {
      step = absl::Hours(24);
      at = absl::UnixEpoch() + absl::Ceil(at - absl::UnixEpoch(), step);
    }
    at -= step;
  }
  std::reverse(points.begin(), points.end());
  return points;
}

std::string NameOfAutomatic(Timestamp time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", ToTime(time),
                          absl::UTCTimeZone());
}

std::optional<absl::Duration> ParseAgo(absl::string_view text) {
  if (text == "yesterday") return absl::Hours(24);
  // That is a span, too, but nobody names a moment so.
  return text == "0" ? std::nullopt : ParseSpan(text);
}

std::optional<absl::Time> ParseMomentTime(absl::string_view text,
                                          absl::Time now, absl::TimeZone zone) {
  if (const auto ago = ParseAgo(text)) return now - *ago;
  std::string error;
  absl::Time time;
  if (absl::ParseTime(kSambaForm, text, absl::UTCTimeZone(), &time, &error)) {
    return EndOf(time);
  }
  for (const char* form : kForms) {
    if (absl::ParseTime(form, text, zone, &time, &error)) {
      return EndOf(time);
    }
  }
  return std::nullopt;
}

absl::StatusOr<MomentLocation> ResolveMoment(Core& core, absl::string_view text,
                                             Timestamp now) {
  Resolver resolver(core, text);
  VARVE_RETURN_IF_ERROR(resolver.Read());
  return resolver.Resolve(now);
}

absl::StatusOr<MomentLocation> FindKeptMoment(Core& core, uint64_t sequence) {
  const std::string text = absl::StrCat("seq:", sequence);
  Resolver resolver(core, text);
  VARVE_RETURN_IF_ERROR(resolver.Read());
  return resolver.OfSequence(sequence);
}

absl::StatusOr<std::vector<MomentAt>> FindMomentsAt(
    Core& core, absl::Span<const Timestamp> times) {
  Resolver resolver(core, /*text=*/"");
  VARVE_RETURN_IF_ERROR(resolver.Read());
  std::vector<MomentAt> moments;
  for (const Timestamp time : times) {
    const absl::StatusOr<MomentLocation> found = resolver.AtTime(time);
    if (absl::IsNotFound(found.status())) continue;
    VARVE_RETURN_IF_ERROR(found.status());
    if (moments.empty() || moments.back().moment != found->sequence) {
      moments.push_back({.time = time, .moment = found->sequence});
    }
  }
  return moments;
}

}  // namespace varve::fs
