#include "fs/history/retention.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using testing::ElementsAre;

absl::Time At(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M", text, absl::UTCTimeZone(),
                              &time, &error))
      << text << ": " << error;
  return time;
}

// Why each automatic snapshot is kept, "" if it is not.
std::vector<std::string> Plan(const std::string& policy,
                              const std::vector<std::string>& times,
                              const std::string& now) {
  std::vector<RetentionCase> cases;
  cases.reserve(times.size());
  for (const std::string& time : times) {
    cases.push_back({.time = At(time), .automatic = true});
  }
  std::vector<std::string> plan;
  for (const auto& reasons :
       PlanRetention(*HistoryPolicy::Parse(policy), cases, At(now))) {
    plan.push_back(absl::StrJoin(reasons, ", "));
  }
  return plan;
}

TEST(RetentionTest, KeepsTheLastOneOfEachPeriodThatHasOne) {
  EXPECT_THAT(Plan("daily=2",
                   {"2026-11-20 08:00", "2026-11-20 20:00", "2026-11-25 08:00",
                    "2026-11-27 00:00", "2026-11-27 23:59"},
                   "2026-11-29 12:00"),
              ElementsAre("", "", "daily 2 of 2", "", "daily 1 of 2"));
}

TEST(RetentionTest, RulesAreOred) {
  EXPECT_THAT(
      Plan("within=2h hourly=2 daily=1 yearly=3",
           {"2024-12-31 23:00", "2025-01-01 00:00", "2026-11-29 09:30",
            "2026-11-29 11:10", "2026-11-29 11:50"},
           "2026-11-29 12:00"),
      ElementsAre("yearly 3 of 3", "yearly 2 of 3", "hourly 2 of 2",
                  "within=2h",
                  "hourly 1 of 2, daily 1 of 1, yearly 1 of 3, within=2h"));
}

TEST(RetentionTest, PeriodsAreThoseOfTheZone) {
  const std::vector<std::string> times = {"2026-11-28 22:30",
                                          "2026-11-28 23:30"};
  EXPECT_THAT(Plan("within=0 daily=9", times, "2026-11-29 12:00"),
              ElementsAre("", "daily 1 of 9"));
  EXPECT_THAT(
      Plan("within=0 daily=9 zone=Europe/Berlin", times, "2026-11-29 12:00"),
      ElementsAre("daily 2 of 9", "daily 1 of 9"));
}

TEST(RetentionTest, NeverRemovesNamedHeldOrFutureOnes) {
  const std::vector<RetentionCase> cases = {
      {.time = At("2020-01-01 00:00")},
      {.time = At("2020-01-01 00:00"), .automatic = true, .held = true},
      {.time = At("2030-01-01 00:00"), .automatic = true},
      {.time = At("2020-01-01 00:00"), .automatic = true},
  };
  EXPECT_THAT(PlanRetention(HistoryPolicy(), cases, At("2026-11-29 12:00")),
              ElementsAre(ElementsAre("named"), ElementsAre("held"),
                          ElementsAre("in the future"), ElementsAre()));
}

TEST(BeginOfTest, KnowsTheCalendar) {
  const absl::Time time = At("2026-11-29 12:34");  // a Sunday
  const absl::TimeZone utc = absl::UTCTimeZone();
  EXPECT_EQ(BeginOf(Period::kHour, time, utc), At("2026-11-29 12:00"));
  EXPECT_EQ(BeginOf(Period::kDay, time, utc), At("2026-11-29 00:00"));
  EXPECT_EQ(BeginOf(Period::kWeek, time, utc), At("2026-11-23 00:00"));
  EXPECT_EQ(BeginOf(Period::kWeek, At("2026-11-23 00:00"), utc),
            At("2026-11-23 00:00"));
  EXPECT_EQ(BeginOf(Period::kMonth, time, utc), At("2026-11-01 00:00"));
  EXPECT_EQ(BeginOf(Period::kYear, time, utc), At("2026-01-01 00:00"));
}

}  // namespace
}  // namespace varve::fs
