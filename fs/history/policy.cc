#include "fs/history/policy.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "engine/base/status.h"

namespace varve::fs {
namespace {

struct Unit {
  char letter;
  absl::Duration length;
};
const Unit kUnits[] = {
    {'d', absl::Hours(24)},
    {'h', absl::Hours(1)},
    {'m', absl::Minutes(1)},
    {'s', absl::Seconds(1)},
    // These are read, and written as days.
    {'w', absl::Hours(24 * 7)},
    {'y', absl::Hours(24 * 365)},
};
// More is no length of time that anybody means.
constexpr int64_t kMostDays = int64_t{365} * 10'000;

// In the order of Period.
constexpr absl::string_view kRules[kPeriods] = {"hourly", "daily", "weekly",
                                                "monthly", "yearly"};
constexpr uint32_t kMostKept = 100'000;

std::optional<absl::Duration> LengthOf(char letter) {
  for (const Unit& unit : kUnits) {
    if (unit.letter == letter) return unit.length;
  }
  return std::nullopt;
}

}  // namespace

std::optional<absl::Duration> ParseSpan(absl::string_view text) {
  if (text == "0") return absl::ZeroDuration();
  if (text.empty()) return std::nullopt;
  absl::Duration span;
  while (!text.empty()) {
    size_t digits = 0;
    while (digits < text.size() && absl::ascii_isdigit(text[digits])) ++digits;
    int64_t number = 0;
    if (digits == text.size() ||
        !absl::SimpleAtoi(text.substr(0, digits), &number)) {
      return std::nullopt;
    }
    const std::optional<absl::Duration> unit = LengthOf(text[digits]);
    if (!unit.has_value()) return std::nullopt;
    span += number * *unit;
    if (span > absl::Hours(24 * kMostDays)) return std::nullopt;
    text.remove_prefix(digits + 1);
  }
  return span;
}

std::string FormatSpan(absl::Duration span) {
  if (span <= absl::ZeroDuration()) return "0";
  std::string text;
  for (const Unit& unit : kUnits) {
    const int64_t number = absl::IDivDuration(span, unit.length, &span);
    if (number > 0) {
      absl::StrAppend(&text, number, std::string(1, unit.letter));
    }
  }
  return text;
}

absl::string_view RuleOf(Period period) {
  return kRules[static_cast<size_t>(period)];
}

absl::Status HistoryPolicy::ReadRule(absl::string_view name,
                                     absl::string_view value) {
  if (name == "within") {
    const bool is_hard = absl::ConsumeSuffix(&value, "!");
    const std::optional<absl::Duration> span = ParseSpan(value);
    if (!span.has_value()) return absl::InvalidArgumentError("");
    within = *span;
    hard = is_hard;
    return absl::OkStatus();
  }
  if (name == "zone") {
    absl::TimeZone known;
    if (value.empty() || !absl::LoadTimeZone(std::string(value), &known)) {
      return absl::InvalidArgumentError("");
    }
    zone = std::string(value);
    return absl::OkStatus();
  }
  const auto* const rule =
      std::find(std::begin(kRules), std::end(kRules), name);
  uint32_t count = 0;
  if (rule == std::end(kRules) || !absl::SimpleAtoi(value, &count) ||
      count > kMostKept) {
    return absl::InvalidArgumentError("");
  }
  keep[static_cast<size_t>(rule - std::begin(kRules))] = count;
  return absl::OkStatus();
}

absl::StatusOr<HistoryPolicy> HistoryPolicy::Parse(absl::string_view text) {
  HistoryPolicy policy;
  for (const absl::string_view rule :
       absl::StrSplit(text, absl::ByAnyChar(" \t\n,"), absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(rule, absl::MaxSplits('=', 1));
    if (!policy.ReadRule(parts.first, parts.second).ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", rule,
          "' is no rule of a history policy; rules are within=7d, with s, m, "
          "h, d, w or y, and ! for \"in any case\"; hourly=48, daily=30, "
          "weekly=8, monthly=12 and yearly=5, up to 100000; and "
          "zone=Europe/Berlin"));
    }
  }
  return policy;
}

std::string HistoryPolicy::Text() const {
  std::string text =
      absl::StrCat("within=", FormatSpan(within), hard ? "!" : "");
  for (size_t i = 0; i < kPeriods; ++i) {
    if (keep[i] > 0) absl::StrAppend(&text, " ", kRules[i], "=", keep[i]);
  }
  if (!zone.empty()) absl::StrAppend(&text, " zone=", zone);
  return text;
}

std::optional<Period> HistoryPolicy::ShortestPeriod() const {
  for (size_t i = 0; i < kPeriods; ++i) {
    if (keep[i] > 0) return static_cast<Period>(i);
  }
  return std::nullopt;
}

absl::TimeZone HistoryPolicy::TimeZone() const {
  absl::TimeZone known = absl::UTCTimeZone();
  if (!zone.empty() && !absl::LoadTimeZone(zone, &known)) {
    return absl::UTCTimeZone();
  }
  return known;
}

absl::Time BeginOf(Period period, absl::Time time, absl::TimeZone zone) {
  const absl::CivilSecond civil = absl::ToCivilSecond(time, zone);
  switch (period) {
    case Period::kHour:
      return absl::FromCivil(absl::CivilHour(civil), zone);
    case Period::kDay:
      return absl::FromCivil(absl::CivilDay(civil), zone);
    case Period::kWeek:
      return absl::FromCivil(
          absl::PrevWeekday(absl::CivilDay(civil) + 1, absl::Weekday::monday),
          zone);
    case Period::kMonth:
      return absl::FromCivil(absl::CivilMonth(civil), zone);
    case Period::kYear:
      return absl::FromCivil(absl::CivilYear(civil), zone);
  }
  return time;
}

}  // namespace varve::fs
