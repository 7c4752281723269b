#include "fs/history/policy.h"

#include "engine/base/test_util.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

TEST(ParseSpanTest, KnowsUnitsAndSumsOfThem) {
  EXPECT_EQ(ParseSpan("0"), absl::ZeroDuration());
  EXPECT_EQ(ParseSpan("90s"), absl::Seconds(90));
  EXPECT_EQ(ParseSpan("1h30m"), absl::Minutes(90));
  EXPECT_EQ(ParseSpan("7d"), absl::Hours(7 * 24));
  EXPECT_EQ(ParseSpan("2w"), absl::Hours(14 * 24));
  EXPECT_EQ(ParseSpan("1y"), absl::Hours(365 * 24));
}

TEST(ParseSpanTest, RefusesWhatIsNone) {
  for (const char* text : {"", "7", "d", "-1d", "7 d", "1.5h", "7days",
                           "99999999999999999999d", "100000y", "now"}) {
    EXPECT_EQ(ParseSpan(text), std::nullopt) << text;
  }
}

TEST(FormatSpanTest, IsReadBack) {
  for (const char* text : {"0", "90s", "1h30m", "7d", "1y2w", "8d1s"}) {
    EXPECT_EQ(ParseSpan(FormatSpan(*ParseSpan(text))), ParseSpan(text)) << text;
  }
}

TEST(HistoryPolicyTest, ReadsItsOwnText) {
  for (const char* text :
       {"within=1d", "within=7d", "within=0", "within=1h30m!",
        "within=7d hourly=48 daily=30 weekly=8 monthly=24 yearly=3",
        "within=0 daily=7 zone=Europe/Berlin"}) {
    const auto policy = HistoryPolicy::Parse(text);
    ASSERT_THAT(policy, IsOk());
    EXPECT_EQ(policy->Text(), text);
  }
  EXPECT_EQ(*HistoryPolicy::Parse(HistoryPolicy::kDefault), HistoryPolicy());
}

TEST(HistoryPolicyTest, TheWindowHasToBeGivenUpExpressly) {
  EXPECT_EQ(*HistoryPolicy::Parse(""), HistoryPolicy());
  EXPECT_EQ(HistoryPolicy::Parse("hourly=48")->Text(), "within=1d hourly=48");
}

TEST(HistoryPolicyTest, SaysWhichRuleIsNone) {
  for (const char* text :
       {"within", "within=", "within=7", "hours=3", "within=1d hours=3", "7d",
        "hourly", "hourly=-1", "hourly=48!", "daily=100001",
        "zone=", "zone=Nowhere/Town"}) {
    EXPECT_THAT(HistoryPolicy::Parse(text),
                HasCode(absl::StatusCode::kInvalidArgument))
        << text;
  }
}

}  // namespace
}  // namespace varve::fs
