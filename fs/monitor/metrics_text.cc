#include "fs/monitor/metrics_text.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace varve::fs {
namespace {

std::string Seconds(double seconds) {
  return absl::StrFormat("%.12g", seconds);
}

}  // namespace

void MetricsText::Metric(absl::string_view name, absl::string_view type,
                         absl::string_view help) {
  name_ = std::string(name);
  absl::StrAppend(&text_, "# HELP ", name, " ", help, "\n# TYPE ", name, " ",
                  type, "\n");
}

void MetricsText::Line(absl::string_view suffix, absl::string_view labels,
                       absl::string_view value) {
  absl::StrAppend(&text_, name_, suffix, labels.empty() ? "" : "{", labels,
                  labels.empty() ? " " : "} ", value, "\n");
}

void MetricsText::Sample(absl::string_view labels, uint64_t value) {
  Line("", labels, absl::StrCat(value));
}

void MetricsText::Sample(absl::string_view labels, double value) {
  Line("", labels, Seconds(value));
}

void MetricsText::Histogram(absl::string_view labels,
                            const LatencyCounts& counts) {
  const std::string prefix = labels.empty() ? "" : absl::StrCat(labels, ",");
  uint64_t so_far = 0;
  for (size_t i = 0; i + 1 < kLatencyBuckets; ++i) {
    so_far += counts.counts[i];
    const double bound = static_cast<double>(uint64_t{1} << i) * 1e-6;
    Line("_bucket", absl::StrCat(prefix, Label("le", Seconds(bound))),
         absl::StrCat(so_far));
  }
  const std::string total = absl::StrCat(counts.total());
  Line("_bucket", absl::StrCat(prefix, Label("le", "+Inf")), total);
  Line("_sum", labels, Seconds(static_cast<double>(counts.nanoseconds) * 1e-9));
  Line("_count", labels, total);
}

std::string Label(absl::string_view name, absl::string_view value) {
  std::string result = absl::StrCat(name, "=\"");
  for (const char c : value) {
    if (c == '\n') {
      result += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') result += '\\';
    result += c;
  }
  return result + '"';
}

}  // namespace varve::fs
