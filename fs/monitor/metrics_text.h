// MetricsText: metrics in the text format of Prometheus, version 0.0.4.
//
// For one thread.

#ifndef VARVE_FS_MONITOR_METRICS_TEXT_H_
#define VARVE_FS_MONITOR_METRICS_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "fs/monitor/latency_histogram.h"

namespace varve::fs {

class MetricsText {
 public:
  // Begins a metric; its samples follow. `type` is "counter", "gauge" or
  // "histogram".
  void Metric(absl::string_view name, absl::string_view type,
              absl::string_view help);
  // A sample of it. `labels` is `name="value"`, several with commas between
  // them, or empty; see Label().
  void Sample(absl::string_view labels, uint64_t value);
  void Sample(absl::string_view labels, double value);
  // All samples of a histogram of seconds.
  void Histogram(absl::string_view labels, const LatencyCounts& counts);

  // A metric with one sample.
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

// `name="value"`, escaped.
std::string Label(absl::string_view name, absl::string_view value);

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_METRICS_TEXT_H_
