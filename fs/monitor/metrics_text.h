// MetricsText: writes metrics in the text format of Prometheus, version 0.0.4.
//
// Not thread-safe.

#ifndef VARVE_FS_MONITOR_METRICS_TEXT_H_
#define VARVE_FS_MONITOR_METRICS_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "fs/monitor/latency_histogram.h"

namespace varve::fs {

class MetricsText {
 public:
  // Begins a metric, whose samples must follow. `type` is "counter", "gauge" or
  // "histogram".
  void Metric(absl::string_view name, absl::string_view type,
              absl::string_view help);
  // Adds a sample of the metric. `labels` is empty, or one or more
  // `name="value"` with commas between them; see Label().
  void Sample(absl::string_view labels, uint64_t value);
  void Sample(absl::string_view labels, double value);
  // Adds all samples of a histogram, in seconds.
  void Histogram(absl::string_view labels, const LatencyCounts& counts);

  // Adds a metric with one sample.
  template <typename Number>
  void Single(absl::string_view name, absl::string_view type,
              absl::string_view help, Number value) {
    Metric(name, type, help);
    Sample("", value);
  }

  const std::string& text() const { return text_; }

 private:
  void Line(absl::string_view suffix, absl::string_view labels,
            absl::string_view value);

  std::string name_;
  std::string text_;
};

// Returns `name="value"`, escaped.
std::string Label(absl::string_view name, absl::string_view value);

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_METRICS_TEXT_H_
