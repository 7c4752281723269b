// LatencyHistogram: counts durations in buckets, one for each power of two from
// a microsecond on. Counting takes two atomic additions and no lock.
//
// Thread-safe.

#ifndef VARVE_FS_MONITOR_LATENCY_HISTOGRAM_H_
#define VARVE_FS_MONITOR_LATENCY_HISTOGRAM_H_

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace varve::fs {

// Bucket i counts durations of up to 2^i microseconds that are too long for the
// buckets below it. The last bucket also counts all longer ones.
inline constexpr size_t kLatencyBuckets = 26;

struct LatencyCounts {
  std::array<uint64_t, kLatencyBuckets> counts = {};
  uint64_t nanoseconds = 0;  // the sum of all durations

  uint64_t total() const {
    uint64_t sum = 0;
    for (const uint64_t count : counts) sum += count;
    return sum;
  }

  void Add(const LatencyCounts& more) {
    for (size_t i = 0; i < kLatencyBuckets; ++i) counts[i] += more.counts[i];
    nanoseconds += more.nanoseconds;
  }
};

class LatencyHistogram {
 public:
  void Add(std::chrono::nanoseconds duration) {
    const int64_t signed_ns = duration.count();
    const uint64_t ns = signed_ns < 0 ? 0 : static_cast<uint64_t>(signed_ns);
    const size_t place =
        ns <= 1000 ? 0
                   : static_cast<size_t>(std::bit_width((ns + 999) / 1000 - 1));
    counts_[place < kLatencyBuckets ? place : kLatencyBuckets - 1].fetch_add(
        1, std::memory_order_relaxed);
    nanoseconds_.fetch_add(ns, std::memory_order_relaxed);
  }

  void AddTo(LatencyCounts& sum) const {
    LatencyCounts now;
    for (size_t i = 0; i < kLatencyBuckets; ++i) {
      now.counts[i] = counts_[i].load(std::memory_order_relaxed);
    }
    now.nanoseconds = nanoseconds_.load(std::memory_order_relaxed);
    sum.Add(now);
  }

 private:
  std::array<std::atomic<uint64_t>, kLatencyBuckets> counts_ = {};
  std::atomic<uint64_t> nanoseconds_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_LATENCY_HISTOGRAM_H_
