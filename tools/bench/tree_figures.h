// What a benchmark of trees measures with: clocks, memory, and how long a
// client waits.

#ifndef VARVE_TOOLS_BENCH_TREE_FIGURES_H_
#define VARVE_TOOLS_BENCH_TREE_FIGURES_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace varve::bench {

// Seconds that `work` takes.
template <typename Work>
double SecondsOf(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

// Of this process now, in bytes (RssAnon): its heap and stacks, and nothing of
// what it has mapped from files.
uint64_t AnonymousMemory();

// Looks at AnonymousMemory() every few milliseconds while it lives.
class MemoryPeak {
 public:
  MemoryPeak() : thread_([this] { Run(); }) {}
  ~MemoryPeak() { Stop(); }

  // The most that was seen; it is not looked any further.
  uint64_t Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mu_);

  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t peak_ ABSL_GUARDED_BY(mu_) = 0;
  std::thread thread_;  // the last, for it works with all of the above
};

// How long each of many operations took that were done one after the other. It
// takes the same memory however many they are.
class Waits {
 public:
  template <typename Work>
  void Measure(const Work& work) {
    Add(SecondsOf(work));
  }
  // In seconds the longest, and bounds of the 99th percentile and the median;
  // how many it were, and how many took up to so many microseconds, by powers
  // of two.
  nlohmann::json Summary() const;

 private:
  static constexpr size_t kSteps = 16;  // to the double
  static constexpr size_t kDoublings = 40;

  void Add(double seconds);
  // Of a bucket, in microseconds.
  static double BoundOf(size_t bucket);
  double Percentile(double part) const;

  std::array<uint64_t, kSteps* kDoublings> counts_ = {};
  uint64_t count_ = 0;
  double longest_ = 0;
};

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_TREE_FIGURES_H_
