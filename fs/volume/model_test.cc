// Applies random operations to a volume and to a model of it, and compares
// them.
//
// VARVE_SEED is the seed of the first round, to reproduce a failure.
// VARVE_MODEL_SECONDS says how long to go on with further rounds.

#include <stdlib.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <random>

#include "absl/strings/numbers.h"
#include "fs/volume/model_round.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = getenv(name);
  uint64_t value = otherwise;
  if (text != nullptr) {
    EXPECT_TRUE(absl::SimpleAtoi(text, &value)) << name;
  }
  return value;
}

TEST(ModelTest, AVolumeDoesWhatItsModelDoes) {
  uint64_t seed = FromEnvironment("VARVE_SEED", std::random_device()());
  const auto seconds =
      std::chrono::seconds(FromEnvironment("VARVE_MODEL_SECONDS", 10));
  const auto end = std::chrono::steady_clock::now() + seconds;
  int rounds = 0;
  do {
    ModelRound(seed).Run();
    ++rounds;
    if (HasFailure()) {
      std::cerr << "VARVE_SEED=" << seed << " reproduces this\n";
      return;
    }
    ++seed;
  } while (std::chrono::steady_clock::now() < end);
  std::cout << rounds << " rounds, up to VARVE_SEED=" << seed - 1 << "\n";
}

}  // namespace
}  // namespace varve::fs
