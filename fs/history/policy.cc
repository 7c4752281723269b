#include "fs/history/policy.h"

#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
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

absl::StatusOr<HistoryPolicy> HistoryPolicy::Parse(absl::string_view text) {
  HistoryPolicy policy = {.within = absl::ZeroDuration()};
  for (absl::string_view rule :
       absl::StrSplit(text, absl::ByAnyChar(" \t\n,"), absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(rule, absl::MaxSplits('=', 1));
    absl::string_view value = parts.second;
    policy.hard = absl::ConsumeSuffix(&value, "!");
    const std::optional<absl::Duration> within = ParseSpan(value);
    if (parts.first != "within" || !within.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", rule,
          "' is no rule of a history policy; an example of one is "
          "within=7d, with s, m, h, d, w or y, and ! for \"in any case\""));
    }
    policy.within = *within;
  }
  return policy;
}

std::string HistoryPolicy::Text() const {
  return absl::StrCat("within=", FormatSpan(within), hard ? "!" : "");
}

}  // namespace varve::fs
