// Runs the entry parser, the checksums and the scans of recovery on arbitrary
// bytes.
//
// Each result is compared with that of a plain implementation of docs/format.md
// in this file: no wrapping arithmetic, no tables, one position at a time. All
// bytes lie in a block of exactly their size, so that the address sanitizer
// notices reads beyond it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "engine/entry/checked_offset.h"
#include "engine/entry/crc32_combine.h"
#include "engine/entry/entry.h"
#include "engine/entry/layout.h"
#include "engine/recovery/scan.h"

namespace varve {
namespace {

// Comparing each position with everything before it takes quadratic time.
constexpr size_t kMaximumBytes = 1024;
constexpr uint64_t kWord = 8;
constexpr uint64_t kLargestFile = INT64_MAX;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "entry_fuzz: %s\n", what);
  std::abort();
}

uint64_t NaiveInteger(const std::byte* at, size_t size) {
  uint64_t value = 0;
  for (size_t i = size; i > 0; --i) {
    value = value * 256 + static_cast<uint64_t>(at[i - 1]);
  }
  return value;
}

bool NaiveZeros(const std::byte* at, size_t size) {
  return std::all_of(at, at + size,
                     [](std::byte byte) { return byte == std::byte{0}; });
}

uint32_t NaiveCrc32(absl::Span<const std::byte> bytes) {
  uint32_t crc = 0xffffffff;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
    }
  }
  return ~crc;
}

// Where the payload begins, of the entry with metadata at `m`; nothing if there
// is none.
std::optional<uint64_t> NaivePayload(const std::byte* before_metadata,
                                     uint64_t m) {
  const std::byte* const metadata = before_metadata + 1;
  if (NaiveZeros(metadata, kMetadataSize)) return std::nullopt;
  if (m > kLargestFile) return std::nullopt;
  const uint64_t prev_tail = NaiveInteger(metadata + 8, 8);
  if (prev_tail >= m) return std::nullopt;
  if (m - prev_tail == 1 && *before_metadata == std::byte{0}) return prev_tail;
  const uint64_t pad = (64 - prev_tail % 64) % 64;
  if (m - prev_tail <= pad) return std::nullopt;
  return prev_tail + pad;
}

void CheckEntry(const std::byte* before_metadata, uint64_t m) {
  const std::optional<EntryLocation> entry = LocateEntry(before_metadata, m);
  const std::optional<uint64_t> payload = NaivePayload(before_metadata, m);
  Check(entry.has_value() == payload.has_value(), "it is an entry, or is not");
  if (!entry.has_value()) return;
  Check(entry->payload_offset == *payload && entry->metadata_offset() == m,
        "the payload lies elsewhere");
  Check(entry->is_tombstone ==
            (m - entry->prev_tail == 1 && *before_metadata == std::byte{0}),
        "it is a tombstone, or is not");
  std::byte again[kMetadataSize];
  EncodeMetadata({entry->key_hash, entry->prev_tail, entry->crc32}, again);
  Check(std::memcmp(again, before_metadata + 1, kMetadataSize) == 0,
        "the metadata is not what was read");
}

// Numbers near which additions and subtractions tend to wrap.
std::vector<uint64_t> Extremes(uint64_t size) {
  constexpr uint64_t kMost = ~uint64_t{0};
  return {1,
          2,
          size,
          size + 1,
          size + 20,
          size + 21,
          1u << 31,
          kLargestFile,
          kLargestFile + 1,
          kLargestFile - 20,
          kMost - 100,
          kMost - 63,
          kMost - 20,
          kMost - 1,
          kMost};
}

// Wherever we look for an entry, nothing outside of the file is read.
void CheckExtremes(absl::Span<const std::byte> bytes, uint64_t number) {
  if (number > bytes.size()) {
    Check(!LocateEntryEndingAt(bytes, number).has_value(),
          "an entry ends behind the file");
  }
  const auto at = LocateEntryAt(bytes, number);
  Check(!at.has_value() || at->end() <= bytes.size(),
        "an entry is said to lie behind the file");
  if (number > 0 && bytes.size() >= kTombstoneSize) {
    CheckEntry(bytes.data(), number);
  }
  const auto checked = CheckedOffset::In(bytes.size(), number);
  Check(checked.has_value() == (number <= bytes.size()),
        "an offset that lies outside of the file");
  const uint64_t aligned = Align64(number);
  Check(aligned >= number, "an offset is aligned downwards");
}

void CheckEntries(absl::Span<const std::byte> bytes, uint64_t far) {
  for (const uint64_t number : Extremes(bytes.size())) {
    CheckExtremes(bytes, number);
  }
  CheckExtremes(bytes, far);
  for (size_t end = 0; end <= bytes.size(); ++end) {
    if (end < kTombstoneSize) {
      Check(!LocateEntryEndingAt(bytes, end).has_value(),
            "an entry begins before the file");
      continue;
    }
    const std::byte* const before = bytes.data() + end - kTombstoneSize;
    const auto near = LocateEntry(before, end - kMetadataSize);
    const auto ending = LocateEntryEndingAt(bytes, end);
    Check(near.has_value() == ending.has_value() &&
              (!near.has_value() ||
               near->payload_offset == ending->payload_offset),
          "an entry depends on how it is asked for");
    CheckEntry(before, end - kMetadataSize);
    // As if the bytes lay somewhere in a large file.
    CheckEntry(before, std::clamp<uint64_t>(far, 1, kLargestFile));
  }
}

void CheckFindWord(absl::Span<const std::byte> bytes, uint64_t needle) {
  if (bytes.size() < kWord) return;
  const size_t count = bytes.size() - kWord + 1;
  size_t expected = 0;
  while (expected < count &&
         NaiveInteger(bytes.data() + expected, kWord) != needle) {
    ++expected;
  }
  Check(FindWord(bytes.data(), count, needle) == expected,
        "the word is found elsewhere");
}

void CheckFindLastCandidate(absl::Span<const std::byte> bytes, uint64_t limit) {
  if (bytes.size() < kMetadataSize) return;
  const size_t count = bytes.size() - kMetadataSize + 1;
  const auto is_candidate = [&](const std::byte* at) {
    return !NaiveZeros(at, kMetadataSize) && NaiveInteger(at + 8, 8) < limit;
  };
  ptrdiff_t expected = static_cast<ptrdiff_t>(count) - 1;
  while (expected >= 0 && !is_candidate(bytes.data() + expected)) --expected;
  Check(FindLastCandidate(bytes.data(), count, limit) == expected,
        "the last candidate is found elsewhere");
}

void CheckCrc32(absl::Span<const std::byte> bytes, size_t split) {
  const auto head = bytes.first(std::min(split, bytes.size()));
  const auto tail = bytes.subspan(head.size());
  const uint32_t whole = NaiveCrc32(bytes);
  Check(Crc32(0, bytes) == whole, "the checksum is another one");
  Check(Crc32(Crc32(0, head), tail) == whole, "a checksum does not go on");
  Check(Crc32Combine(Crc32(0, head), Crc32(0, tail), tail.size()) == whole,
        "two checksums do not make one");
}

void RunInput(absl::Span<const uint8_t> input) {
  // A number to look for, one that is a limit, and a place in a file.
  uint64_t numbers[3] = {};
  const size_t head = std::min(input.size(), sizeof(numbers));
  if (head > 0) std::memcpy(numbers, input.data(), head);
  const size_t size = std::min(input.size() - head, kMaximumBytes);
  const auto memory = std::make_unique<std::byte[]>(size);
  if (size > 0) std::memcpy(memory.get(), input.data() + head, size);
  const absl::Span<const std::byte> bytes(memory.get(), size);

  CheckEntries(bytes, numbers[2]);
  CheckCrc32(bytes, numbers[0] % (kMaximumBytes + 1));
  CheckFindWord(bytes, numbers[0]);
  CheckFindLastCandidate(bytes, numbers[1]);
  for (const uint64_t number : Extremes(size)) {
    CheckFindWord(bytes, number);
    CheckFindLastCandidate(bytes, number);
  }
  // Needles that are there, and limits that are near.
  for (size_t at = 0; at + kWord <= size; at += 37) {
    const uint64_t word = NaiveInteger(bytes.data() + at, kWord);
    CheckFindWord(bytes, word);
    CheckFindLastCandidate(bytes, word);
    CheckFindLastCandidate(bytes.subspan(at), numbers[1]);
  }
}

}  // namespace
}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  varve::RunInput({data, size});
  return 0;
}
