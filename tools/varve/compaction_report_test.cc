#include "tools/varve/compaction_report.h"

#include <errno.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/varve/exit_status.h"

namespace varve::tools {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kMiB = uint64_t{1} << 20;

varve_compaction_progress Halfway() {
  varve_compaction_progress progress = {};
  progress.phase = VARVE_PHASE_COPYING;
  progress.bytes_done = 40 * kMiB;
  progress.bytes_total = 80 * kMiB;
  progress.files_done = 3;
  progress.files_total = 7;
  progress.elapsed_ms = 20'000;
  progress.eta_ms = 20'400;
  return progress;
}

varve_compaction_progress Ended(int result, const char* message) {
  varve_compaction_progress progress = Halfway();
  progress.phase = VARVE_PHASE_ENDED;
  progress.result = static_cast<uint32_t>(result);
  progress.eta_ms = 0;
  progress.bytes_reclaimed = 5 * kMiB;
  progress.longest_stall_us = 3200;
  std::strncpy(progress.message, message, sizeof(progress.message) - 1);
  return progress;
}

const CompactionReport kMounted = {
    .store = "/a.varve", .mountpoint = "/mnt", .joined = true};
const CompactionReport kUnmounted = {.store = "/a.varve"};

TEST(RateTest, ANumberMayHaveAUnit) {
  EXPECT_EQ(ParseRate("1").value_or(0), 1);
  EXPECT_EQ(ParseRate("500K").value_or(0), 500 * 1024);
  EXPECT_EQ(ParseRate("50m").value_or(0), 50 * kMiB);
  EXPECT_EQ(ParseRate("1G").value_or(0), kMiB << 10);
  EXPECT_EQ(ParseRate("2T").value_or(0), kMiB << 21);
  for (const char* bad :
       {"", "0", "K", "-1", "+1", " 1", "1.5M", "50MB", "1X", "1 M", "0G",
        "18446744073709551616", "18446744073709551615K", "99999999999T"}) {
    const auto rate = ParseRate(bad);
    EXPECT_FALSE(rate.ok()) << bad;
    EXPECT_EQ(ExitStatusOf(rate.status()), ExitStatus::kUsage) << bad;
  }
}

TEST(ProgressTest, ALineSaysAll) {
  EXPECT_EQ(
      ProgressBar(Halfway(), 200),
      absl::StrCat("copying     [", std::string(15, '#'), std::string(15, '-'),
                   "]  50%  40.0 MiB of 80.0 MiB, 3 of 7 files, "
                   "2.0 MiB/s, 0:20 left"));
}

TEST(ProgressTest, WhatIsNotKnownIsLeftOut) {
  varve_compaction_progress progress = Halfway();
  progress.phase = VARVE_PHASE_PUNCHING;
  progress.bytes_done = progress.bytes_total = 0;
  progress.elapsed_ms = 0;
  progress.eta_ms = VARVE_ETA_UNKNOWN;
  EXPECT_THAT(ProgressBar(progress, 200),
              EndsWith("  0%  0 bytes of 0 bytes, 3 of 7 files"));
}

TEST(ProgressTest, AllIsDoneOnlyWhenItHasEnded) {
  varve_compaction_progress progress = Halfway();
  progress.bytes_done = 2 * progress.bytes_total;
  EXPECT_THAT(ProgressBar(progress, 200), HasSubstr(" 99%  "));
}

TEST(ProgressTest, TheBarFitsItsTerminal) {
  for (size_t columns = 0; columns < 150; ++columns) {
    EXPECT_LE(ProgressBar(Halfway(), columns).size(), columns);
  }
  EXPECT_THAT(ProgressBar(Halfway(), 60), Not(HasSubstr("[")));
}

TEST(ResultTest, ALineForPeople) {
  EXPECT_EQ(
      ResultText(kMounted, Ended(0, "")),
      "/mnt: 5.0 MiB reclaimed; copied 40.0 MiB of 3 files in 20.0 s; longest "
      "stall 3.2 ms\n");
}

TEST(ResultTest, PunchingSaysWhatItWonAndNotWhatItWentOver) {
  varve_compaction_progress progress = Ended(0, "");
  progress.kind = VARVE_KIND_PUNCH;
  EXPECT_EQ(
      ResultText(kMounted, progress),
      "/mnt: 5.0 MiB reclaimed by punching in 20.0 s; longest stall 3.2 ms\n");
}

TEST(ResultTest, AnObjectForPrograms) {
  const auto json =
      nlohmann::json::parse(ResultJson(kMounted, Ended(ENOSPC, "why")));
  EXPECT_EQ(json["store"], "/a.varve");
  EXPECT_EQ(json["mounted_at"], "/mnt");
  EXPECT_EQ(json["kind"], "copy");
  EXPECT_EQ(json["joined"], true);
  EXPECT_EQ(json["result"], "failed");
  EXPECT_EQ(json["errno"], ENOSPC);
  EXPECT_EQ(json["message"], "why");
  EXPECT_EQ(json["bytes_reclaimed"], 5 * kMiB);
  const auto cancelled =
      nlohmann::json::parse(ResultJson(kUnmounted, Ended(ECANCELED, "")));
  EXPECT_EQ(cancelled["result"], "cancelled");
  EXPECT_TRUE(cancelled["mounted_at"].is_null());
}

TEST(OutlookTest, PartsOfABlockAreNotWon) {
  varve_statistics statistics = {};
  statistics.allocated_bytes = 8192;
  statistics.live_bytes = 5000;
  statistics.dead_bytes = 3192;
  EXPECT_THAT(OutlookText(kUnmounted, statistics, false),
              HasSubstr("would reclaim about 0 bytes"));
  EXPECT_THAT(OutlookText(kUnmounted, statistics, true),
              HasSubstr("would reclaim at most 0 bytes"));
  EXPECT_EQ(nlohmann::json::parse(OutlookJson(kUnmounted, statistics,
                                              false))["would_reclaim_bytes"],
            0);
  statistics.allocated_bytes += 4096;
  EXPECT_THAT(OutlookText(kUnmounted, statistics, false),
              HasSubstr("would reclaim about 4.0 KiB"));
}

TEST(OutlookTest, SaysWhatThereIsAndWhatIsNeeded) {
  varve_statistics statistics = {};
  statistics.allocated_bytes = 10 * kMiB;
  statistics.live_bytes = 4 * kMiB;
  statistics.dead_bytes = 6 * kMiB;
  statistics.peak_extra_bytes = 5 * kMiB;
  statistics.available_bytes = 5 * kMiB;
  const auto text = [&statistics](bool punch) {
    return OutlookText(kUnmounted, statistics, punch);
  };
  EXPECT_THAT(text(false), AllOf(HasSubstr("would reclaim about 6.0 MiB"),
                                 HasSubstr("needs 5.0 MiB of free space"),
                                 Not(HasSubstr("too little"))));
  --statistics.available_bytes;
  EXPECT_THAT(text(false), HasSubstr("too little"));
  EXPECT_THAT(text(true), Not(HasSubstr("too little")));
  const auto fits = [&statistics](bool punch) {
    const auto json =
        nlohmann::json::parse(OutlookJson(kUnmounted, statistics, punch));
    return json["fits"].get<bool>();
  };
  EXPECT_FALSE(fits(false));
  EXPECT_TRUE(fits(true));
}

}  // namespace
}  // namespace varve::tools
