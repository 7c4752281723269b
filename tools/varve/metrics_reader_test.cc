#include "tools/varve/metrics_reader.h"

#include "gtest/gtest.h"

namespace varve::tools {
namespace {

TEST(MetricsReaderTest, SamplesAreReadAndAllElseIsLeftOut) {
  const Metrics metrics = ParseMetrics(
      "# HELP a what\n# TYPE a counter\na{op=\"x y\",le=\"1\"} 7\nb 1.5\n\n"
      "c word\n");
  EXPECT_EQ(metrics, (Metrics{{"a{op=\"x y\",le=\"1\"}", 7}, {"b", 1.5}}));
  EXPECT_EQ(ValueOf(metrics, "b"), 1.5);
  EXPECT_EQ(ValueOf(metrics, "none"), 0);
}

// Two kinds of requests, of 10 and 90 times; the second has a slow one.
constexpr char kBefore[] =
    "varve_requests_total{op=\"read\"} 5\n"
    "varve_request_duration_seconds_bucket{op=\"read\",le=\"1e-06\"} 5\n"
    "varve_request_duration_seconds_bucket{op=\"read\",le=\"2e-06\"} 5\n"
    "varve_request_duration_seconds_bucket{op=\"read\",le=\"+Inf\"} 5\n";
constexpr char kAfter[] =
    "varve_requests_total{op=\"lookup\"} 90\n"
    "varve_request_duration_seconds_bucket{op=\"lookup\",le=\"1e-06\"} 50\n"
    "varve_request_duration_seconds_bucket{op=\"lookup\",le=\"2e-06\"} 88\n"
    "varve_request_duration_seconds_bucket{op=\"lookup\",le=\"4e-06\"} 90\n"
    "varve_request_duration_seconds_bucket{op=\"lookup\",le=\"+Inf\"} 90\n"
    "varve_requests_total{op=\"read\"} 15\n"
    "varve_request_duration_seconds_bucket{op=\"read\",le=\"1e-06\"} 5\n"
    "varve_request_duration_seconds_bucket{op=\"read\",le=\"2e-06\"} 15\n"
    "varve_request_duration_seconds_bucket{op=\"read\",le=\"4e-06\"} 15\n"
    "varve_request_duration_seconds_bucket{op=\"read\",le=\"+Inf\"} 15\n"
    "varve_request_errors_total{errno=\"EIO\"} 4\n"
    "varve_request_errors_total{errno=\"ENOENT\"} 2\n"
    "varve_read_bytes_total 1000\n";

TEST(MetricsReaderTest, RatesAreOfTheTimeBetween) {
  const MountRates rates =
      RatesBetween(ParseMetrics(kBefore), ParseMetrics(kAfter), 2);
  ASSERT_EQ(rates.operations.size(), 2u);
  EXPECT_EQ(rates.operations[0].name, "lookup");
  EXPECT_EQ(rates.operations[0].per_second, 45);
  EXPECT_EQ(rates.operations[0].p50_seconds, 1e-6);
  EXPECT_EQ(rates.operations[0].p99_seconds, 4e-6);
  EXPECT_EQ(rates.operations[1].name, "read");
  EXPECT_EQ(rates.operations[1].per_second, 5);
  EXPECT_EQ(rates.operations[1].p50_seconds, 2e-6);
  EXPECT_EQ(rates.all.per_second, 50);
  EXPECT_EQ(rates.all.p50_seconds, 1e-6);
  EXPECT_EQ(rates.errors_per_second, 3);
  EXPECT_EQ(rates.read_bytes_per_second, 500);
  EXPECT_EQ(rates.syncs_per_second, 0);
}

TEST(MetricsReaderTest, WhatDoesNothingHasNoRates) {
  const Metrics same = ParseMetrics(kAfter);
  const MountRates rates = RatesBetween(same, same, 1);
  EXPECT_TRUE(rates.operations.empty());
  EXPECT_EQ(rates.all.per_second, 0);
  EXPECT_EQ(rates.all.p99_seconds, 0);
  EXPECT_EQ(rates.errors_per_second, 0);
}

}  // namespace
}  // namespace varve::tools
