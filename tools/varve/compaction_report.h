// The output of `varve compact`: a progress bar on a terminal, and sentences or
// JSON at the end. Thread-safe.

#ifndef VARVE_TOOLS_VARVE_COMPACTION_REPORT_H_
#define VARVE_TOOLS_VARVE_COMPACTION_REPORT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/ioctl/varve_ioctl.h"

namespace varve::tools {

// Parses a number of bytes per second such as "50M", where K, M, G and T are
// powers of 1024. INVALID_ARGUMENT, with a sentence for the user, if it is
// malformed or 0.
absl::StatusOr<uint64_t> ParseRate(absl::string_view text);

// "copying     [######------]  42%  1.2 GiB of 2.9 GiB, 120 of 3400 files, 80.1
// MiB/s, 0:21 left", in no more than `columns` columns; a narrow terminal has
// no room for the bar.
std::string ProgressBar(const varve_compaction_progress& progress,
                        size_t columns);

// The compaction that is reported.
struct CompactionReport {
  std::string store;
  std::string mountpoint;  // empty if the store is not mounted
  bool forgets = false;    // asked to let history go
  bool joined = false;     // it was already running
};

// The result: a line for people, or a JSON object.
std::string ResultText(const CompactionReport& report,
                       const varve_compaction_progress& progress);
std::string ResultJson(const CompactionReport& report,
                       const varve_compaction_progress& progress);

// What a compaction would do (--dry-run).
std::string OutlookText(const CompactionReport& report,
                        const varve_statistics& statistics, bool punch);
std::string OutlookJson(const CompactionReport& report,
                        const varve_statistics& statistics, bool punch);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_COMPACTION_REPORT_H_
