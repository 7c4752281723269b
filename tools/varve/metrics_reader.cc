#include "tools/varve/metrics_reader.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace varve::tools {
namespace {

double Increase(const Metrics& before, const Metrics& after,
                const std::string& name) {
  return std::max(0.0, ValueOf(after, name) - ValueOf(before, name));
}

// How many new samples each bucket of a histogram has, by its upper bound. As
// usual in Prometheus, each bucket includes the smaller ones.
using Buckets = std::map<double, double>;

// The buckets of the histogram whose labels begin with `labels`.
Buckets BucketsOf(const Metrics& before, const Metrics& after,
                  absl::string_view name, absl::string_view labels) {
  const std::string prefix = absl::StrCat(name, "_bucket{", labels,
                                          labels.empty() ? "" : ",", "le=\"");
  Buckets buckets;
  for (auto it = after.lower_bound(prefix); it != after.end(); ++it) {
    absl::string_view rest = it->first;
    if (!absl::ConsumePrefix(&rest, prefix)) break;
    const absl::string_view text = rest.substr(0, rest.find('"'));
    double bound = std::numeric_limits<double>::infinity();
    if (text != "+Inf" && !absl::SimpleAtod(text, &bound)) continue;
    buckets[bound] = Increase(before, after, it->first);
  }
  return buckets;
}

// The bound below which that part of the samples lies; the bound of the last
// finite bucket if it lies beyond.
double Quantile(const Buckets& buckets, double part) {
  if (buckets.empty()) return 0;
  const double wanted = part * buckets.rbegin()->second;
  double result = 0;
  for (const auto& [bound, count] : buckets) {
    if (bound == std::numeric_limits<double>::infinity()) break;
    result = bound;
    if (count >= wanted) break;
  }
  return buckets.rbegin()->second > 0 ? result : 0;
}

void AddTo(Buckets& sum, const Buckets& more) {
  for (const auto& [bound, count] : more) sum[bound] += count;
}

OperationRate Rate(const std::string& name, const Buckets& buckets,
                   double seconds) {
  const double count = buckets.empty() ? 0 : buckets.rbegin()->second;
  return {.name = name,
          .per_second = count / seconds,
          .p50_seconds = Quantile(buckets, 0.5),
          .p99_seconds = Quantile(buckets, 0.99)};
}

// The sum over all labels.
double IncreaseOfAll(const Metrics& before, const Metrics& after,
                     absl::string_view name) {
  const std::string prefix = absl::StrCat(name, "{");
  double sum = 0;
  for (auto it = after.lower_bound(prefix); it != after.end(); ++it) {
    absl::string_view rest = it->first;
    if (!absl::ConsumePrefix(&rest, prefix)) break;
    sum += Increase(before, after, it->first);
  }
  return sum;
}

}  // namespace

Metrics ParseMetrics(absl::string_view text) {
  Metrics metrics;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    // Behind the labels, whose values may have spaces, there is one number.
    const size_t space = line.rfind(' ');
    double value = 0;
    if (line.empty() || line[0] == '#' || space == absl::string_view::npos ||
        !absl::SimpleAtod(line.substr(space + 1), &value)) {
      continue;
    }
    metrics[std::string(line.substr(0, space))] = value;
  }
  return metrics;
}

double ValueOf(const Metrics& metrics, const std::string& name) {
  const auto it = metrics.find(name);
  return it == metrics.end() ? 0 : it->second;
}

MountRates RatesBetween(const Metrics& before, const Metrics& after,
                        double seconds) {
  constexpr absl::string_view kRequests = "varve_requests_total{";
  MountRates rates;
  rates.seconds = seconds;
  Buckets all;
  for (auto it = after.lower_bound(std::string(kRequests)); it != after.end();
       ++it) {
    absl::string_view labels = it->first;
    if (!absl::ConsumePrefix(&labels, kRequests)) break;
    absl::ConsumeSuffix(&labels, "}");
    const Buckets buckets =
        BucketsOf(before, after, "varve_request_duration_seconds", labels);
    AddTo(all, buckets);
    absl::string_view name = labels;
    absl::ConsumePrefix(&name, "op=\"");
    absl::ConsumeSuffix(&name, "\"");
    OperationRate rate = Rate(std::string(name), buckets, seconds);
    if (rate.per_second > 0) rates.operations.push_back(std::move(rate));
  }
  std::stable_sort(rates.operations.begin(), rates.operations.end(),
                   [](const OperationRate& a, const OperationRate& b) {
                     return a.per_second > b.per_second;
                   });
  rates.all = Rate("all", all, seconds);
  const auto per_second = [&](const std::string& name) {
    return Increase(before, after, name) / seconds;
  };
  rates.errors_per_second =
      IncreaseOfAll(before, after, "varve_request_errors_total") / seconds;
  rates.read_bytes_per_second = per_second("varve_read_bytes_total");
  rates.written_bytes_per_second = per_second("varve_written_bytes_total");
  rates.appended_bytes_per_second =
      per_second("varve_store_appended_bytes_total");
  const Buckets syncs =
      BucketsOf(before, after, "varve_store_sync_duration_seconds", "");
  rates.syncs_per_second = Rate("", syncs, seconds).per_second;
  rates.sync_p99_seconds = Quantile(syncs, 0.99);
  return rates;
}

}  // namespace varve::tools
