// What a client waits for that uses files, one operation after the other, while
// the daemon works on its own; and what all steps of tree_bench share.

#ifndef VARVE_TOOLS_BENCH_TREE_BESIDE_H_
#define VARVE_TOOLS_BENCH_TREE_BESIDE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "absl/time/time.h"
#include "fs/volume/volume.h"
#include "tools/bench/tree_files.h"

namespace varve::bench {

struct Arguments {
  std::string store;
  std::string other_store;
  uint64_t files = 20'000;
  uint64_t changes = 10'000;
  uint64_t mebibytes = 1024;
  int rounds = 5;
};

inline constexpr absl::Duration kNever = absl::Hours(24);

// What is measured is not disturbed by what nobody has asked for.
inline fs::VolumeOptions Options(absl::Duration sync_interval) {
  fs::VolumeOptions options;
  options.sync_interval = sync_interval;
  options.auto_compaction.mode = fs::AutoCompaction::Mode::kNever;
  return options;
}

// Files drawn at random, the same in each run.
class Dice {
 public:
  explicit Dice(uint64_t files) : pick_(0, files - 1) {}
  uint64_t Next() { return pick_(random_); }

 private:
  std::mt19937_64 random_{1};
  std::uniform_int_distribution<uint64_t> pick_;
};

// Changes the mode of a file drawn at random: another one each time, or it
// would be no change.
inline void ChangeAtRandom(TreeFiles& files, Dice& dice) {
  const uint64_t number = dice.Next();
  files.ChangeMode(files.DirectoryOf(number), TreeFiles::NameOf(number),
                   dice.Next() & 0777);
}

// Each uses the files of the store while something goes on, and returns the
// waits, the peak of memory and what else is said of it.
nlohmann::json BesideCheckpoints(const Arguments& arguments);
nlohmann::json BesideACompaction(const Arguments& arguments);
// Of what is live, once for each round.
nlohmann::json BesideCounting(const Arguments& arguments);
// Makes and removes files before each round, so that there is something to be
// punched.
nlohmann::json BesidePunching(const Arguments& arguments);

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_TREE_BESIDE_H_
