#include "fs/fuse/metrics.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "fs/fuse/operation.h"
#include "fs/fuse/operations.h"
#include "fs/monitor/measured_files.h"
#include "fs/monitor/metrics_text.h"

namespace varve::fs {
namespace {

constexpr absl::string_view kCounter = "counter";
constexpr absl::string_view kGauge = "gauge";
constexpr absl::string_view kHistogram = "histogram";

std::string ErrorName(size_t number) {
  const char* const name = strerrorname_np(static_cast<int>(number));
  return name != nullptr ? name : absl::StrCat(number);
}

void AddRequests(const RequestMeter& meter, MetricsText& text) {
  const std::unique_ptr<RequestMeter::Counts> counts = meter.Read();
  // Some operations share a name, such as those with and without flags.
  std::map<std::string, LatencyCounts> by_name;
  for (const Operation& row : Operations()) by_name[row.name];
  for (uint32_t opcode = 0; opcode < RequestMeter::kOpcodes; ++opcode) {
    const LatencyCounts& more = counts->latencies[opcode];
    if (more.total() > 0) by_name[OperationName(opcode)].Add(more);
  }
  text.Metric("varve_requests_total", kCounter,
              "Requests of the kernel that were answered.");
  for (const auto& [name, sum] : by_name) {
    text.Sample(Label("op", name), sum.total());
  }
  text.Metric("varve_request_duration_seconds", kHistogram,
              "Time from receiving a request until it was answered.");
  for (const auto& [name, sum] : by_name) {
    if (sum.total() > 0) text.Histogram(Label("op", name), sum);
  }
  text.Metric("varve_request_errors_total", kCounter,
              "Requests that were answered with an error, by its name.");
  for (size_t number = 1; number < RequestMeter::kErrors; ++number) {
    if (counts->errors[number] == 0) continue;
    text.Sample(Label("errno", ErrorName(number)), counts->errors[number]);
  }
  text.Single("varve_requests_in_progress", kGauge,
              "Requests that have been received and not answered.",
              counts->in_progress);
  text.Single("varve_read_bytes_total", kCounter,
              "Bytes of files that were given to the kernel.",
              counts->bytes_read);
  text.Single("varve_written_bytes_total", kCounter,
              "Bytes of files that the kernel has handed over.",
              counts->bytes_written);
}

void AddFiles(const FileMeter& meter, MetricsText& text) {
  LatencyCounts appends;
  meter.appends.AddTo(appends);
  LatencyCounts syncs;
  meter.syncs.AddTo(syncs);
  text.Metric("varve_store_append_duration_seconds", kHistogram,
              "Time of each write to the store's file.");
  text.Histogram("", appends);
  text.Metric("varve_store_sync_duration_seconds", kHistogram,
              "Time of each sync of the store's file.");
  text.Histogram("", syncs);
  text.Single("varve_store_appended_bytes_total", kCounter,
              "Bytes written to the store's file, a compaction's too.",
              meter.bytes_appended.load());
  text.Single("varve_store_append_failures_total", kCounter,
              "Writes to the store's file that failed.",
              meter.failed_appends.load());
  text.Single("varve_store_sync_failures_total", kCounter,
              "Syncs of the store's file that failed.",
              meter.failed_syncs.load());
}

void AddStore(Volume& volume, MetricsText& text) {
  if (const auto figures = volume.GetStatistics(); figures.ok()) {
    text.Single("varve_store_bytes", kGauge, "Length of the store.",
                figures->total_bytes);
    text.Single("varve_store_allocated_bytes", kGauge,
                "Bytes of the store that take space on the disk.",
                figures->allocated_bytes);
    text.Single("varve_store_live_bytes", kGauge,
                "Bytes that a compacted store would have.",
                figures->live_bytes);
    text.Single("varve_store_history_bytes", kGauge,
                "Allocated bytes that the policy leaves to the past.",
                figures->history_bytes);
    text.Single("varve_store_dead_bytes", kGauge,
                "All other allocated bytes; snapshots may hold some.",
                figures->dead_bytes - figures->history_bytes);
    text.Single("varve_store_commits_total", kCounter,
                "Commits since the store was made.", figures->commits);
    text.Single("varve_inodes", kGauge,
                "Inodes: files, directories and all other kinds.",
                figures->files);
  }
  text.Single("varve_store_durable_bytes", kGauge,
              "Length of the store that is known to be synced.",
              volume.store().durable_tail());
  if (const auto space = volume.GetSpace(); space.ok()) {
    text.Single("varve_host_available_bytes", kGauge,
                "Free space of the file system that the store lies on.",
                space->host_available);
  }
  text.Single("varve_dirty_bytes", kGauge,
              "Written bytes in memory that are not committed.",
              volume.dirty_bytes());
  text.Single("varve_open_files", kGauge, "Files that are open.",
              volume.open_files());
  text.Single("varve_read_only", kGauge,
              "Whether the store serves only reads: 1 or 0.",
              uint64_t{volume.read_only()});
  text.Single("varve_failed", kGauge,
              "Whether the store serves only reads because of damage or a "
              "failure: 1 or 0.",
              uint64_t{!volume.failure().ok()});
  const Scrubber::Progress scrubbed = volume.scrub_progress();
  text.Single("varve_scrubbed_bytes_total", kCounter,
              "Bytes compared with their checksums in the background.",
              scrubbed.bytes);
  text.Single("varve_scrub_damaged_entries_total", kCounter,
              "Entries that did not match their checksums in the background.",
              scrubbed.damaged);
}

void AddCompaction(Volume& volume, MetricsText& text) {
  const CompactionProgress progress = volume.compactions().progress();
  text.Single("varve_compaction_running", kGauge,
              "Whether a compaction is under way: 1 or 0.",
              uint64_t{progress.running()});
  text.Single("varve_compaction_done_bytes", kGauge,
              "Bytes that the running or last compaction has dealt with.",
              progress.bytes_done);
  text.Single("varve_compaction_planned_bytes", kGauge,
              "Bytes that the running or last compaction has to deal with, an "
              "estimate.",
              progress.bytes_total);
  text.Single("varve_compaction_reclaimed_bytes", kGauge,
              "Bytes that the last compaction has returned to the disk.",
              progress.bytes_reclaimed);
  text.Single("varve_compaction_longest_stall_seconds", kGauge,
              "Longest time for which the running or last compaction made "
              "requests wait.",
              absl::ToDoubleSeconds(progress.longest_stall));
}

// "RssAnon:     1234 kB" as bytes; 0 if there is no such line.
uint64_t LineOfStatus(const std::string& status, absl::string_view name) {
  const size_t at = status.find(absl::StrCat("\n", name, ":"));
  if (at == std::string::npos) return 0;
  const size_t from = status.find_first_of("0123456789", at);
  const size_t to = status.find(' ', from);
  uint64_t kibibytes = 0;
  if (from == std::string::npos || to == std::string::npos ||
      !absl::SimpleAtoi(status.substr(from, to - from), &kibibytes)) {
    return 0;
  }
  return kibibytes << 10;
}

void AddProcess(const FuseContext& context, MetricsText& text) {
  std::ifstream file("/proc/self/status");
  const std::string status((std::istreambuf_iterator<char>(file)), {});
  const uint64_t anonymous = LineOfStatus(status, "RssAnon");
  const uint64_t mapped = LineOfStatus(status, "RssFile");
  text.Metric("varve_memory_bytes", kGauge,
              "Memory of the daemon: anonymous, or mapped from files, which "
              "the kernel can take back.");
  text.Sample(Label("kind", "anonymous"), anonymous);
  text.Sample(Label("kind", "mapped"), mapped);
  text.Single("process_resident_memory_bytes", kGauge,
              "Resident memory size in bytes.", LineOfStatus(status, "VmRSS"));
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const absl::Duration time = absl::DurationFromTimeval(usage.ru_utime) +
                              absl::DurationFromTimeval(usage.ru_stime);
  text.Single("process_cpu_seconds_total", kCounter,
              "Total user and system CPU time spent in seconds.",
              absl::ToDoubleSeconds(time));
  std::error_code error;
  const std::filesystem::directory_iterator descriptors("/proc/self/fd", error);
  if (!error) {
    text.Single("process_open_fds", kGauge, "Number of open file descriptors.",
                static_cast<uint64_t>(std::distance(
                    begin(descriptors), std::filesystem::end(descriptors))));
  }
  text.Single("process_start_time_seconds", kGauge,
              "Start time of the process since unix epoch in seconds.",
              context.started_seconds);
  text.Metric("varve_build_info", kGauge,
              "Always 1; the labels give version and transport.");
  text.Sample(absl::StrCat(Label("version", context.version), ",",
                           Label("transport", context.control.transport())),
              uint64_t{1});
}

}  // namespace

std::string MetricsOf(FuseContext& context) {
  MetricsText text;
  AddRequests(context.requests, text);
  if (context.files != nullptr) AddFiles(*context.files, text);
  AddStore(context.volume, text);
  AddCompaction(context.volume, text);
  AddProcess(context, text);
  return text.text();
}

}  // namespace varve::fs
