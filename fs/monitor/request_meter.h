// RequestMeter: counts the requests of a mount, by what they ask for, how long
// they took and how they ended. Threads count in places of their own, so that
// none waits for a cache line of another's.
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
  // As many as there are error numbers; the last stands for what lies beyond.
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

  // All so far. Not of one moment: what is counted meanwhile may be in it in
  // part.
  std::unique_ptr<Counts> Read() const;

 private:
  struct Shard;
  static constexpr size_t kShards = 16;
  Shard& Mine() const;

  std::unique_ptr<Shard[]> shards_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_REQUEST_METER_H_
