// RequestMeter: counts the requests of a mount by operation, duration and
// result. Each thread has counters of its own, as far as possible, so that
// threads do not contend for cache lines.
//
// Thread-safe.

#ifndef VARVE_FS_MONITOR_REQUEST_METER_H_
#define VARVE_FS_MONITOR_REQUEST_METER_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "fs/monitor/latency_histogram.h"

namespace varve::fs {

class RequestMeter {
 public:
  static constexpr size_t kOpcodes = 64;
  // One for each error number; the last stands for all larger ones.
  static constexpr size_t kErrors = 136;

  struct Outcome {
    uint32_t opcode = 0;  // one of the kernel's FUSE_LOOKUP, FUSE_READ…
    int error = 0;        // a positive number, or 0
    uint64_t bytes_read = 0;
    uint64_t bytes_written = 0;
    std::chrono::nanoseconds duration{0};
  };

  struct Counts {
    std::array<LatencyCounts, kOpcodes> latencies;
    std::array<uint64_t, kErrors> errors = {};
    uint64_t bytes_read = 0;
    uint64_t bytes_written = 0;
    uint64_t in_progress = 0;
  };

  RequestMeter();
  ~RequestMeter();

  void Begin();
  void End(const Outcome& outcome);

  // All counts so far. They are not of a single moment: a request that ends
  // meanwhile may be counted in part.
  std::unique_ptr<Counts> Read() const;

 private:
  struct Shard;
  static constexpr size_t kShards = 16;
  Shard& Mine() const;

  std::unique_ptr<Shard[]> shards_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_REQUEST_METER_H_
