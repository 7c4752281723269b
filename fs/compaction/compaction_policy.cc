#include "fs/compaction/compaction_policy.h"

#include <algorithm>

namespace varve::fs {
namespace {

// One part in so many.
constexpr int kLookShare = 50;

}  // namespace

CompactionPolicy::Due CompactionPolicy::Find(uint64_t live,
                                             uint64_t allocated) const {
  if (never() || allocated < live) return {};
  const uint64_t dead = allocated - live;
  // What is left of dead entries after punching: metadata, padding, and parts
  // of blocks.
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
  // Punching says nothing of what copying would win, but the less is dead the
  // less has to be added.
  least_for_copy_.store(punch ? std::min(least_for_copy_.load(), least)
                              : least);
}

}  // namespace varve::fs
