#include "tools/varve/compaction_report.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/progress.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

const char* PhaseName(uint32_t phase) {
  switch (phase) {
    case VARVE_PHASE_COPYING:
      return "copying";
    case VARVE_PHASE_CATCHING_UP:
      return "catching up";
    case VARVE_PHASE_SWITCHING:
      return "switching";
    case VARVE_PHASE_PUNCHING:
      return "punching";
    case VARVE_PHASE_ENDED:
      return "ended";
    default:
      return "waiting";
  }
}

// The free space, in words.
bool IsKnown(const varve_statistics& statistics) {
  return statistics.available_bytes != VARVE_SPACE_UNKNOWN;
}

// From 0 to 1. It reaches 1 only when the compaction has ended.
double Fraction(const varve_compaction_progress& progress) {
  if (progress.bytes_total == 0) return 0;
  return std::min(0.99, static_cast<double>(progress.bytes_done) /
                            static_cast<double>(progress.bytes_total));
}

std::string Figures(const varve_compaction_progress& progress) {
  std::string text = absl::StrCat(
      HumanBytes(progress.bytes_done), " of ", HumanBytes(progress.bytes_total),
      ", ", progress.files_done, " of ", progress.files_total, " files");
  if (progress.elapsed_ms > 0) {
    const double rate = 1000.0 * static_cast<double>(progress.bytes_done) /
                        static_cast<double>(progress.elapsed_ms);
    absl::StrAppend(&text, ", ", HumanBytes(static_cast<uint64_t>(rate)), "/s");
  }
  if (progress.eta_ms != VARVE_ETA_UNKNOWN) {
    absl::StrAppend(&text, ", ", HumanTime(progress.eta_ms), " left");
  }
  return text;
}

int Percent(const varve_compaction_progress& progress) {
  return static_cast<int>(100 * Fraction(progress));
}

Json JsonOf(const CompactionReport& report) {
  Json json;
  json["store"] = report.store;
  json["mounted_at"] =
      report.mountpoint.empty() ? Json(nullptr) : Json(report.mountpoint);
  return json;
}

std::string NameOf(const CompactionReport& report) {
  return Printable(report.mountpoint.empty() ? report.store
                                             : report.mountpoint);
}

const char* OutcomeOf(const varve_compaction_progress& progress) {
  if (progress.result == 0) return "done";
  return progress.result == ECANCELED ? "cancelled" : "failed";
}

// How much disk space the store would save, in whole blocks.
uint64_t WouldReclaim(const varve_statistics& statistics) {
  constexpr uint64_t kBlock = 4096;
  const uint64_t live = (statistics.live_bytes + kBlock - 1) / kBlock * kBlock;
  return statistics.allocated_bytes -
         std::min(statistics.allocated_bytes, live);
}

}  // namespace

absl::StatusOr<uint64_t> ParseRate(absl::string_view text) {
  constexpr absl::string_view kUnits = "KMGT";
  absl::string_view digits = text;
  int shift = 0;
  if (!digits.empty()) {
    const size_t unit = kUnits.find(absl::ascii_toupper(digits.back()));
    if (unit != absl::string_view::npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      digits.remove_suffix(1);
    }
  }
  uint64_t number = 0;
  const bool is_number =
      !digits.empty() &&
      std::all_of(digits.begin(), digits.end(),
                  [](char c) { return absl::ascii_isdigit(c); }) &&
      absl::SimpleAtoi(digits, &number);
  if (!is_number || number == 0 ||
      number > std::numeric_limits<uint64_t>::max() >> shift) {
    return ExitError(
        ExitStatus::kUsage,
        absl::StrCat(
            "--limit needs bytes per second, such as 500K, 50M or 1G, not ",
            text));
  }
  return number << shift;
}

std::string ProgressBar(const varve_compaction_progress& progress,
                        size_t columns) {
  std::string before = absl::StrFormat("%-11s ", PhaseName(progress.phase));
  const std::string after =
      absl::StrFormat("%3d%%  %s", Percent(progress), Figures(progress));
  constexpr size_t kWidest = 30;
  constexpr size_t kNarrowest = 5;
  const size_t around = before.size() + after.size() + 3;  // "[", "] "
  const size_t width =
      std::min(kWidest, columns > around ? columns - around : 0);
  if (width >= kNarrowest) {
    const auto full =
        static_cast<size_t>(static_cast<double>(width) * Fraction(progress));
    absl::StrAppend(&before, "[", std::string(full, '#'),
                    std::string(width - full, '-'), "] ");
  }
  return absl::StrCat(before, after).substr(0, columns);
}

std::string ResultText(const CompactionReport& report,
                       const varve_compaction_progress& progress) {
  const bool punch = progress.kind == VARVE_KIND_PUNCH;
  std::string text = absl::StrCat(
      NameOf(report), ": ", HumanBytes(progress.bytes_reclaimed), " reclaimed");
  if (punch) {
    // Earlier runs may have punched what this run went over.
    absl::StrAppend(&text, " by punching");
  } else {
    absl::StrAppend(&text, "; copied ", HumanBytes(progress.bytes_done), " of ",
                    progress.files_done, " files");
  }
  absl::StrAppendFormat(&text, " in %.1f s; longest stall %.1f ms\n",
                        static_cast<double>(progress.elapsed_ms) / 1e3,
                        static_cast<double>(progress.longest_stall_us) / 1e3);
  if (progress.bytes_reclaimed == 0 && !report.forgets) {
    absl::StrAppend(&text,
                    "(Deleted data of the last while is kept as history: see "
                    "`varve history`, or use --forget.)\n");
  }
  return text;
}

std::string ResultJson(const CompactionReport& report,
                       const varve_compaction_progress& progress) {
  Json json = JsonOf(report);
  json["kind"] = progress.kind == VARVE_KIND_PUNCH ? "punch" : "copy";
  json["joined"] = report.joined;
  json["result"] = OutcomeOf(progress);
  json["errno"] = progress.result;
  json["message"] = std::string(
      progress.message, strnlen(progress.message, sizeof(progress.message)));
  json["bytes_done"] = progress.bytes_done;
  json["bytes_total"] = progress.bytes_total;
  json["files_done"] = progress.files_done;
  json["files_total"] = progress.files_total;
  json["bytes_reclaimed"] = progress.bytes_reclaimed;
  json["elapsed_ms"] = progress.elapsed_ms;
  json["longest_stall_us"] = progress.longest_stall_us;
  return JsonText(json);
}

std::string OutlookText(const CompactionReport& report,
                        const varve_statistics& statistics, bool punch) {
  std::string text =
      absl::StrCat(NameOf(report), ": ", HumanBytes(statistics.allocated_bytes),
                   " on the disk, of which ", HumanBytes(statistics.live_bytes),
                   " are live and ", HumanBytes(statistics.dead_bytes),
                   " dead; ", statistics.files, " files\n");
  if (punch) {
    return absl::StrCat(text, "punching would reclaim at most ",
                        HumanBytes(WouldReclaim(statistics)),
                        ", and needs no free space\n");
  }
  absl::StrAppend(
      &text, "a compaction would reclaim about ",
      HumanBytes(WouldReclaim(statistics)), "; until its end it needs ",
      HumanBytes(statistics.peak_extra_bytes), " of free space, and ",
      IsKnown(statistics)
          ? absl::StrCat("there are ", HumanBytes(statistics.available_bytes))
          : "the free space of the disk is unknown");
  const bool fits = statistics.peak_extra_bytes <= statistics.available_bytes;
  absl::StrAppend(&text, fits ? "\n"
                              : ": too little; free some, or use --punch, "
                                "which needs none\n");
  return text;
}

std::string OutlookJson(const CompactionReport& report,
                        const varve_statistics& statistics, bool punch) {
  Json json = JsonOf(report);
  const uint64_t needed = punch ? 0 : statistics.peak_extra_bytes;
  json["kind"] = punch ? "punch" : "copy";
  json["total_bytes"] = statistics.total_bytes;
  json["allocated_bytes"] = statistics.allocated_bytes;
  json["live_bytes"] = statistics.live_bytes;
  json["dead_bytes"] = statistics.dead_bytes;
  json["files"] = statistics.files;
  json["commits"] = statistics.commits;
  json["extents"] = statistics.extents;
  json["would_reclaim_bytes"] = WouldReclaim(statistics);
  json["needed_bytes"] = needed;
  json["available_bytes"] =
      IsKnown(statistics) ? Json(statistics.available_bytes) : Json(nullptr);
  json["fits"] = needed <= statistics.available_bytes;
  return JsonText(json);
}

}  // namespace varve::tools
