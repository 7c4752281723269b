// Reads the metrics of a mount from its `.varve/metrics`, and computes the
// rates between two readings.
//
// Thread-safe: free functions without state, and values.

#ifndef VARVE_TOOLS_VARVE_METRICS_READER_H_
#define VARVE_TOOLS_VARVE_METRICS_READER_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace varve::tools {

// Maps "name{labels}" or "name" to its value.
using Metrics = std::map<std::string, double>;

// Skips lines that are not samples.
Metrics ParseMetrics(absl::string_view text);

// The value of the metric; 0 if there is none.
double ValueOf(const Metrics& metrics, const std::string& name);

// The requests of one kind between two readings.
struct OperationRate {
  std::string name;
  double per_second = 0;
  double p50_seconds = 0;  // half of them took at most this long
  double p99_seconds = 0;
};

struct MountRates {
  double seconds = 0;                     // between the readings
  std::vector<OperationRate> operations;  // those that occurred, busiest first
  OperationRate all;
  double errors_per_second = 0;
  double read_bytes_per_second = 0;
  double written_bytes_per_second = 0;
  double appended_bytes_per_second = 0;
  double syncs_per_second = 0;
  double sync_p99_seconds = 0;
};

MountRates RatesBetween(const Metrics& before, const Metrics& after,
                        double seconds);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_METRICS_READER_H_
