#include "fs/monitor/request_meter.h"

#include <algorithm>

namespace varve::fs {
namespace {

using Counter = std::atomic<uint64_t>;

void Add(Counter& counter, uint64_t count) {
  counter.fetch_add(count, std::memory_order_relaxed);
}

// Each thread has a number. With more threads than shards, some threads share a
// shard, which is slower but correct.
size_t NumberOfThread() {
  static std::atomic<size_t> next{0};
  thread_local const size_t number =
      next.fetch_add(1, std::memory_order_relaxed);
  return number;
}

}  // namespace

// Aligned, so that no two shards share a cache line.
struct alignas(128) RequestMeter::Shard {
  std::array<LatencyHistogram, kOpcodes> latencies;
  std::array<Counter, kErrors> errors = {};
  Counter bytes_read{0};
  Counter bytes_written{0};
  Counter begun{0};
};

RequestMeter::RequestMeter() : shards_(std::make_unique<Shard[]>(kShards)) {}

RequestMeter::~RequestMeter() = default;

RequestMeter::Shard& RequestMeter::Mine() const {
  return shards_[NumberOfThread() % kShards];
}

void RequestMeter::Begin() { Add(Mine().begun, 1); }

void RequestMeter::End(const Outcome& outcome) {
  Shard& shard = Mine();
  const size_t opcode = outcome.opcode < kOpcodes ? outcome.opcode : 0;
  shard.latencies[opcode].Add(outcome.duration);
  if (outcome.error > 0) {
    const auto number = static_cast<size_t>(outcome.error);
    Add(shard.errors[std::min(number, kErrors - 1)], 1);
  }
  if (outcome.bytes_read > 0) Add(shard.bytes_read, outcome.bytes_read);
  if (outcome.bytes_written > 0) {
    Add(shard.bytes_written, outcome.bytes_written);
  }
}

std::unique_ptr<RequestMeter::Counts> RequestMeter::Read() const {
  auto counts = std::make_unique<Counts>();
  for (size_t i = 0; i < kShards; ++i) {
    const Shard& shard = shards_[i];
    for (size_t op = 0; op < kOpcodes; ++op) {
      shard.latencies[op].AddTo(counts->latencies[op]);
    }
    for (size_t e = 0; e < kErrors; ++e) {
      counts->errors[e] += shard.errors[e].load(std::memory_order_relaxed);
    }
    counts->bytes_read += shard.bytes_read.load(std::memory_order_relaxed);
    counts->bytes_written +=
        shard.bytes_written.load(std::memory_order_relaxed);
  }
  // Read the ends first: each beginning is counted before its end, so the
  // result is never negative.
  uint64_t ended = 0;
  for (const LatencyCounts& sum : counts->latencies) ended += sum.total();
  uint64_t begun = 0;
  for (size_t i = 0; i < kShards; ++i) begun += shards_[i].begun.load();
  counts->in_progress = begun - std::min(begun, ended);
  return counts;
}

}  // namespace varve::fs
