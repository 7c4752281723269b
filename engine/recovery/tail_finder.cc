#include "engine/recovery/tail_finder.h"

#include <algorithm>

#include "engine/base/endian.h"
#include "engine/entry/layout.h"
#include "engine/recovery/scan.h"

namespace varve {
namespace {

constexpr uint64_t kWindow = uint64_t{1} << 20;

// Checksums may cover this many bytes, and twice those scanned.
constexpr uint64_t kFreeChecksums = uint64_t{64} << 20;
constexpr uint64_t kChecksumsPerScanned = 2;
constexpr size_t kMaximumDeferred = 64;

// Every sixteenth tail of a walked chain is remembered: a later walk repeats at
// most fifteen steps, and memory stays small for stores of any size.
constexpr uint64_t kSampledSteps = 16;

// Scanning so many bytes forwards costs as much as one step of a walk. Once the
// steps that led nowhere have cost more than a scan from the start would, the
// bytes are probably made up.
constexpr uint64_t kBytesPerStep = 256;
constexpr uint64_t kBytesPerReadingStep = 4096;
constexpr uint64_t kFreeSteps = uint64_t{1} << 16;

// From `position` in a zero byte of data[0..size), the end of the zeros.
size_t EndOfZeros(const std::byte* data, size_t position, size_t size) {
  while (position + 8 <= size && LoadLittle64(data + position) == 0) {
    position += 8;
  }
  while (position < size && data[position] == std::byte{0}) ++position;
  return position;
}

}  // namespace

TailFinder::TailFinder(ByteSource& scan, ByteSource& probe,
                       bool probes_are_cheap)
    : scan_(scan),
      probe_(probe),
      wasted_steps_limit_(kFreeSteps +
                          scan.size() / (probes_are_cheap
                                             ? kBytesPerStep
                                             : kBytesPerReadingStep)) {}

bool TailFinder::LastEntryIsWhole() {
  const auto end = probe_.Check(probe_.size());
  if (!end.has_value()) return false;
  const auto entry = probe_.EntryEndingAt(*end);
  return entry.has_value() && probe_.HasValidChecksum(*entry);
}

template <typename Visit>
void TailFinder::ForEachCandidate(uint64_t low, const Visit& visit) {
  const uint64_t size = scan_.size();
  if (size < kTombstoneSize || size - kTombstoneSize < low) return;
  // The metadata offsets to visit go from `low` + 1 up to, but not including,
  // `end`.
  uint64_t end = size - kMetadataSize + 1;
  while (end > low + 1) {
    const uint64_t begin = end - low - 1 > kWindow ? end - kWindow : low + 1;
    // Includes the byte before the first position and all of the last metadata.
    const auto first = scan_.Check(begin - 1);
    const std::byte* const before =
        first.has_value() ? scan_.At(*first, end - begin + kMetadataSize)
                          : nullptr;
    size_t count = before == nullptr ? 0 : end - begin;
    while (count > 0) {
      const ptrdiff_t found =
          FindLastCandidate(before + 1, count, /*limit=*/begin + count);
      if (found < 0) break;
      count = static_cast<size_t>(found);
      const std::optional<EntryLocation> entry =
          LocateEntry(before + count, begin + count);
      if (entry.has_value() && entry->prev_tail >= low && !visit(*entry)) {
        return;
      }
    }
    end = begin;
  }
}

bool TailFinder::WithinChecksumBudget(const EntryLocation& entry) {
  const uint64_t scanned = scan_.size() - entry.metadata_offset();
  if (checksummed_ + entry.payload_size >
      kFreeChecksums + kChecksumsPerScanned * scanned) {
    return false;
  }
  checksummed_ += entry.payload_size;
  return true;
}

void TailFinder::ForEachWholeEntry(
    uint64_t low, const std::function<bool(const EntryLocation&)>& visit) {
  checksummed_ = 0;
  ForEachCandidate(low, [&](const EntryLocation& entry) {
    return !WithinChecksumBudget(entry) || !probe_.HasValidChecksum(entry) ||
           visit(entry);
  });
}

bool TailFinder::BeginsTheFile(const EntryLocation& first) {
  if (first.prev_tail != 0) return false;
  const auto known = known_chains_.find(first.end());
  if (known != known_chains_.end()) return known->second;
  // A store that was made up to have many of them gets no more than this.
  bool begins = checksummed_ + first.payload_size <=
                kFreeChecksums + kChecksumsPerScanned * scan_.size();
  if (begins) {
    checksummed_ += first.payload_size;
    begins = probe_.HasValidChecksum(first);
  }
  if (!begins) {
    // The entry is damaged, or it is not the first; then the first must be
    // found.
    if (!first_end_.has_value()) first_end_ = EndOfNext(0);
    begins = !first_end_->has_value() || **first_end_ >= first.end();
  }
  known_chains_[first.end()] = begins;
  return begins;
}

bool TailFinder::ChainIsSound(uint64_t tail) {
  std::vector<uint64_t> sample;
  bool sound = false;
  uint64_t steps = 0;
  for (uint64_t at = tail;; ++steps) {
    if (at == 0) {
      sound = true;  // of nothing
      break;
    }
    if (at < kTombstoneSize) break;
    const auto known = known_chains_.find(at);
    if (known != known_chains_.end()) {
      sound = known->second;
      break;
    }
    const auto end = probe_.Check(at);
    if (!end.has_value()) break;
    const auto entry = probe_.EntryEndingAt(*end);
    if (!entry.has_value()) break;
    if (entry->prev_tail == 0) {
      sound = BeginsTheFile(*entry);
      break;
    }
    if (steps % kSampledSteps == 0) sample.push_back(at);
    at = entry->prev_tail;
  }
  for (const uint64_t at : sample) known_chains_[at] = sound;
  if (!sound) wasted_steps_ += steps + 1;
  return sound;
}

uint64_t TailFinder::FindBase() {
  uint64_t base = 0;
  ForEachCandidate(0, [&](const EntryLocation& entry) {
    // The metadata of a small entry and the pad behind it look like this from a
    // few bytes further on. If this is an entry after all, the scan finds it
    // from another position.
    if (entry.crc32 == 0) return true;
    if (!ChainIsSound(entry.prev_tail)) {
      return wasted_steps_ < wasted_steps_limit_;
    }
    if (!WithinChecksumBudget(entry)) {
      if (deferred_.size() < kMaximumDeferred) deferred_.push_back(entry);
      return true;
    }
    if (!probe_.HasValidChecksum(entry)) return true;
    base = entry.end();
    return false;
  });
  return base;
}

bool TailFinder::TombstoneFollows(uint64_t tail) {
  const auto begin = probe_.Check(tail);
  if (!begin.has_value()) return false;
  const std::byte* const bytes = probe_.At(*begin, kTombstoneSize);
  if (bytes == nullptr) return false;
  const std::optional<EntryLocation> entry = LocateEntry(bytes, tail + 1);
  return entry.has_value() && entry->is_tombstone &&
         entry->crc32 == kTombstoneCrc32;
}

std::optional<uint64_t> TailFinder::EndOfNext(uint64_t tail) {
  if (TombstoneFollows(tail)) return tail + kTombstoneSize;
  const uint64_t size = scan_.size();
  const uint64_t start = Align64(tail);
  if (size < kTombstoneSize || start > size - kTombstoneSize) {
    return std::nullopt;
  }
  uint32_t crc = 0;
  uint64_t crc_end = start;  // crc covers the bytes from start to here
  // Windows end at multiples of their size, so that the search for the next
  // entry uses bytes that have been read already.
  for (uint64_t at = start + 1; at + kMetadataSize <= size;) {
    const size_t count =
        std::min(kWindow - at % kWindow, size - kMetadataSize + 1 - at);
    const size_t readable = count + kMetadataSize - 1;
    const auto window = scan_.Check(at);
    const std::byte* const data =
        window.has_value() ? scan_.At(*window, readable) : nullptr;
    if (data == nullptr) return std::nullopt;
    for (size_t i = 0; i < count; ++i) {
      i += FindWord(data + i + 8, count - i, tail);
      if (i >= count) break;
      const size_t zeros_end = EndOfZeros(data, i, readable);
      if (zeros_end >= i + kMetadataSize) {
        // Zeros are never metadata, even though the prev_tail of the first
        // entry is 0.
        i = zeros_end - kMetadataSize;
        continue;
      }
      if (crc_end < at) {
        const auto summed = probe_.Check(crc_end);
        if (!summed.has_value()) return std::nullopt;
        crc = probe_.Crc32Of(crc, *summed, at - crc_end);
        crc_end = at;
      }
      crc = Crc32(crc, {data + (crc_end - at), at + i - crc_end});
      crc_end = at + i;
      if (crc == LoadLittle32(data + i + 16)) return crc_end + kMetadataSize;
    }
    at += count;
  }
  return std::nullopt;
}

uint64_t TailFinder::FollowForward(uint64_t tail) {
  while (const std::optional<uint64_t> next = EndOfNext(tail)) tail = *next;
  return tail;
}

uint64_t TailFinder::FindTail() {
  uint64_t tail = FollowForward(FindBase());
  // Somebody may have made bytes inside a huge last entry look like the end of
  // a small one. The huge entry is newer, so its checksum is worth computing
  // after all.
  const uint64_t budget = checksummed_ + kFreeChecksums + 2 * scan_.size();
  for (const EntryLocation& entry : deferred_) {
    if (entry.end() <= tail) break;
    if (checksummed_ + entry.payload_size > budget) continue;
    checksummed_ += entry.payload_size;
    if (probe_.HasValidChecksum(entry)) return FollowForward(entry.end());
  }
  return tail;
}

}  // namespace varve
