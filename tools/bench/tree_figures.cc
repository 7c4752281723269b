#include "tools/bench/tree_figures.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "tools/bench/tree_files.h"

namespace varve::bench {
namespace {

constexpr absl::Duration kBetweenLooks = absl::Milliseconds(5);

}  // namespace

uint64_t AnonymousMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!absl::StartsWith(line, "RssAnon:")) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    uint64_t kib;
    if (words.size() > 1 && absl::SimpleAtoi(words[1], &kib)) return kib << 10;
  }
  FailTree("the kernel does not tell RssAnon");
}

uint64_t MemoryPeak::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
  absl::MutexLock lock(&mu_);
  return peak_;
}

void MemoryPeak::Run() {
  absl::MutexLock lock(&mu_);
  do {
    peak_ = std::max(peak_, AnonymousMemory());
  } while (!mu_.AwaitWithTimeout(absl::Condition(&stopped_), kBetweenLooks));
  peak_ = std::max(peak_, AnonymousMemory());
}

void Waits::Add(double seconds) {
  const double steps = std::ceil(std::log2(seconds * 1e6) * kSteps);
  const double highest = static_cast<double>(counts_.size() - 1);
  ++counts_[static_cast<size_t>(std::clamp(steps, 0.0, highest))];
  ++count_;
  longest_ = std::max(longest_, seconds);
}

double Waits::BoundOf(size_t bucket) {
  return std::exp2(static_cast<double>(bucket) / kSteps);
}

double Waits::Percentile(double part) const {
  uint64_t below = 0;
  size_t bucket = 0;
  while (true) {
    below += counts_[bucket];
    if (static_cast<double>(below) >= part * static_cast<double>(count_)) break;
    ++bucket;
  }
  return std::min(BoundOf(bucket) / 1e6, longest_);
}

nlohmann::json Waits::Summary() const {
  if (count_ == 0) FailTree("there was no operation to be measured");
  nlohmann::json histogram = nlohmann::json::array();
  for (size_t i = 0, bucket = 0; i <= kDoublings; ++i) {
    uint64_t count = 0;
    for (; bucket < counts_.size() && bucket <= i * kSteps; ++bucket) {
      count += counts_[bucket];
    }
    if (count > 0) histogram.push_back({uint64_t{1} << i, count});
  }
  return {{"operations", count_},
          {"longest", longest_},
          {"p99", Percentile(0.99)},
          {"median", Percentile(0.5)},
          {"histogram", std::move(histogram)}};
}

}  // namespace varve::bench
