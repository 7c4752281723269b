// TailFinder: finds the end of a store whose last bytes are not an entry
// (docs/format.md, "Recovery", rules 1 and 2).
//
// Whatever the bytes are, the work is linear in their number: each scan is one
// pass, no chain is walked twice, and checksums are computed over no more than
// a small multiple of the bytes scanned.
//
// Not thread-safe.

#ifndef VARVE_ENGINE_RECOVERY_TAIL_FINDER_H_
#define VARVE_ENGINE_RECOVERY_TAIL_FINDER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/entry/byte_source.h"
#include "engine/entry/entry.h"

namespace varve {

class TailFinder {
 public:
  // Takes two sources of the same file, so that both can be in use at once:
  // `scan` for the position of a scan, `probe` for places that the scan leads
  // to. Neither is owned. `probes_are_cheap` says that a probe needs no system
  // call.
  TailFinder(ByteSource& scan, ByteSource& probe, bool probes_are_cheap);

  // Whether an entry with a valid checksum ends at the end of the file. Does
  // not follow its chain.
  bool LastEntryIsWhole();

  // Whether `first`, whose metadata says that it begins at the start of the
  // file, really does. An entry at any other place says so, too, once a part of
  // its metadata is lost, and would then hide everything before it.
  bool BeginsTheFile(const EntryLocation& first);

  // The end of the newest entry that is whole and whose chain reaches the start
  // of the file through valid bounds; 0 if there is none.
  uint64_t FindTail();

  // Calls `visit` for everything between `low` and the end of the file that has
  // the bounds and the checksum of an entry and a prev_tail of at least `low`.
  // Begins with the newest, and stops when `visit` returns false.
  void ForEachWholeEntry(
      uint64_t low, const std::function<bool(const EntryLocation&)>& visit);

 private:
  template <typename Visit>
  void ForEachCandidate(uint64_t low, const Visit& visit);
  // Whether the budget allows computing the checksum of `entry`, given that the
  // backward scan has come down to it. If so, counts its bytes.
  bool WithinChecksumBudget(const EntryLocation& entry);
  bool ChainIsSound(uint64_t tail);

  // The end of a whole entry from which a search forwards finds the rest.
  uint64_t FindBase();
  // Follows whole entries from `tail` as far as they go.
  uint64_t FollowForward(uint64_t tail);
  std::optional<uint64_t> EndOfNext(uint64_t tail);
  bool TombstoneFollows(uint64_t tail);

  ByteSource& scan_;
  ByteSource& probe_;

  // Whether the chain from these tails reaches the start; a sample of what
  // ChainIsSound() has walked.
  absl::flat_hash_map<uint64_t, bool> known_chains_;
  uint64_t wasted_steps_ = 0;  // of walks that ended nowhere
  const uint64_t wasted_steps_limit_;
  uint64_t checksummed_ = 0;  // bytes

  // The end of the whole entry at the start of the file, which a forward scan
  // finds. Outer value: whether the scan has been made.
  std::optional<std::optional<uint64_t>> first_end_;

  // Candidates that were skipped because their checksum would have cost too
  // much, newest first.
  std::vector<EntryLocation> deferred_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_RECOVERY_TAIL_FINDER_H_
