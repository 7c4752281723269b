#include "fs/compaction/compaction_policy.h"

#include <algorithm>

namespace varve::fs {
namespace {

// Collecting the figures may take one part in so many of the time.
constexpr int kLookShare = 50;

}  // namespace

CompactionPolicy::Due CompactionPolicy::Find(uint64_t live,
                                             uint64_t allocated) const {
  if (never() || allocated < live) return {};
  const uint64_t dead = allocated - live;
  // Copying is due if much is dead: punching leaves metadata, padding and parts
  // of blocks of dead entries.
  const bool much =
      options_.mode == AutoCompaction::Mode::kRatio
          ? static_cast<double>(dead) >
                options_.dead_ratio * static_cast<double>(allocated)
          : dead > allocated / 2;
  return {.copy = much && dead >= least_for_copy_.load(),
          .punch = dead > allocated / 4 && dead >= least_for_punch_.load()};
}

void CompactionPolicy::NoteLook(absl::Time begin, absl::Time end) {
  next_look_.store(absl::ToUnixNanos(end + kLookShare * (end - begin)));
}

void CompactionPolicy::NoteEnd(bool punch, uint64_t dead) {
  const uint64_t least = dead + kMinDeadBytes;
  least_for_punch_.store(least);
  // What punching leaves does not tell what copying would gain, so it may only
  // lower the limit for copying.
  least_for_copy_.store(punch ? std::min(least_for_copy_.load(), least)
                              : least);
}

}  // namespace varve::fs
