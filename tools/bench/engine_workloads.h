// The workloads that the engine's benchmark runs on each peer, and the figures
// that it measures.

#ifndef VARVE_TOOLS_BENCH_ENGINE_WORKLOADS_H_
#define VARVE_TOOLS_BENCH_ENGINE_WORKLOADS_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "tools/bench/key_value_store.h"

namespace varve::bench {

struct Workload {
  const char* id;
  const char* title;
  const char* unit;
  bool less_is_better = false;
};

inline constexpr std::array kWorkloads = {
    Workload{"batch_write", "batched writes, keys in order", "keys/s"},
    Workload{"batch_write_native", "batched writes, native counters", "keys/s"},
    Workload{"batch_write_shuffled", "batched writes, shuffled", "keys/s"},
    Workload{"read", "random reads", "reads/s"},
    Workload{"read_batch", "batch reads", "reads/s"},
    Workload{"iterate", "iteration", "entries/s"},
    Workload{"iterate_parallel", "parallel iteration", "entries/s"},
    Workload{"write_100", "single writes of 100 B", "writes/s"},
    Workload{"write_4k", "single writes of 4 KiB", "writes/s"},
    Workload{"write_1m", "single writes of 1 MiB", "writes/s"},
    Workload{"open", "opening, to the first read", "ms", true},
    Workload{"checksum", "checksum (bare: memcpy)", "bytes/s"},
    Workload{"memory", "memory after reading all", "B/key", true},
};

struct Settings {
  std::string directory;  // must exist and be empty
  uint64_t keys = 1'000'000;
  uint64_t batch = 1024;
  uint64_t small_writes = 200'000;
  uint64_t page_writes = 50'000;
  uint64_t large_writes = 500;
  uint64_t checksum_bytes = uint64_t{8} << 30;
  std::vector<std::string> only;  // ids of workloads; empty: all

  bool Wants(const std::string& workload) const;
};

// One figure of each round, by workload and peer.
class Figures {
 public:
  void Add(const std::string& workload, absl::string_view peer, double figure);

  // The figures of all rounds, in order. Empty if it was not measured.
  const std::vector<double>& All(const std::string& workload,
                                 const std::string& peer) const;
  std::optional<double> Median(const std::string& workload,
                               const std::string& peer) const;
  // The median of the ratios within each round: above one if the first is
  // better.
  std::optional<double> Ratio(const std::string& workload,
                              const std::string& peer,
                              const std::string& other_workload,
                              const std::string& other_peer) const;

 private:
  std::map<std::pair<std::string, std::string>, std::vector<double>> figures_;
};

// Runs the workloads of the settings once on each of the peers, in this order.
void RunRound(const Settings& settings,
              absl::Span<const std::unique_ptr<KeyValueStore>> peers,
              Figures& figures);

// Opens the store of `peer` at `path`, reads `keys` keys, and returns how many
// bytes of memory the process has taken for that. Call it in a process that
// does nothing else.
int64_t MemoryToRead(KeyValueStore& peer, const std::string& path,
                     uint64_t keys);

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_ENGINE_WORKLOADS_H_
