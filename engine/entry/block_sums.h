// Block sums: a checksum for each block of a large payload, so that a part of
// it can be checked without reading the rest. They lie in an entry of their
// own, behind that of the payload. docs/format.md ("Block sums") is normative.
// Thread rules: free functions are thread-safe, classes say their own.

#ifndef VARVE_ENGINE_ENTRY_BLOCK_SUMS_H_
#define VARVE_ENGINE_ENTRY_BLOCK_SUMS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/entry/entry.h"

namespace varve {

inline constexpr uint64_t kSumBlockSize = uint64_t{64} << 10;
// Smaller payloads have no block sums: they are checked as a whole.
inline constexpr uint64_t kMinSummedSize = 4 * kSumBlockSize;

// Bytes of a payload, from `begin` up to, not including, `end`.
struct BlockRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// A payload is cut into blocks of kSumBlockSize. What is left at the end
// belongs to the last one, so that no block is shorter than the others: blocks
// of different entries, too, begin at least kSumBlockSize apart.
constexpr uint64_t CountBlocks(uint64_t payload_size) {
  return payload_size / kSumBlockSize;
}
// `payload_size` is at least kSumBlockSize, and the block or byte exists.
constexpr BlockRange BlockAt(uint64_t payload_size, uint64_t block) {
  const bool is_last = block + 1 == CountBlocks(payload_size);
  return {.begin = block * kSumBlockSize,
          .end = is_last ? payload_size : (block + 1) * kSumBlockSize};
}
constexpr uint64_t BlockOfByte(uint64_t payload_size, uint64_t at) {
  return std::min(at / kSumBlockSize, CountBlocks(payload_size) - 1);
}

// Under which keys an entry is to be appended, and its block sums, which follow
// it if it is large enough. Implicit from a number: an entry without sums.
struct EntryKeys {
  EntryKeys(uint64_t hash) : key_hash(hash) {}
  EntryKeys(uint64_t hash, uint64_t sums_hash, bool sums_key_reserved = false)
      : key_hash(hash),
        sums_key_hash(sums_hash),
        sums_key_is_reserved(sums_key_reserved) {}

  uint64_t key_hash;
  std::optional<uint64_t> sums_key_hash;
  // Nothing but the sums of this one entry can lie under their key, so nobody
  // has to look whether something does.
  bool sums_key_is_reserved = false;
};

// Computes the checksum of a payload that comes in pieces, and on the way those
// of its blocks, at no more cost. Takes four bytes for each block. Not
// thread-safe.
class BlockSummer {
 public:
  void Add(absl::Span<const std::byte> bytes);

  // Of all bytes so far.
  uint64_t size() const { return sums_.size() * kSumBlockSize + rest_size_; }
  uint32_t crc32() const;
  // The payload of the entry that holds the sums of these bytes, which are the
  // payload of an entry of that key. There are at least kMinSummedSize.
  std::string Encode(uint64_t key_hash) const;

 private:
  std::vector<uint32_t> sums_;  // of the blocks that are full
  uint32_t crc_ = 0;            // of all of these
  uint32_t rest_crc_ = 0;       // of what follows them
  uint64_t rest_size_ = 0;      // less than kSumBlockSize
};

// The payload of an entry with block sums, read in place. Immutable, hence
// thread-safe.
class BlockSums {
 public:
  // The size of the payload with the sums of a payload of that size, in bytes.
  static uint64_t SizeFor(uint64_t payload_size);
  // The key hash of the entry to which they belong, if `payload` (or at least
  // its first 24 bytes) begins like block sums.
  static std::optional<uint64_t> DataKeyIn(absl::string_view payload);

  // Nothing if `payload` has not the form of the sums of that entry. Takes no
  // time that depends on their number. `payload` must stay valid; `pin` is kept
  // as long as this object.
  static std::optional<BlockSums> Open(absl::string_view payload,
                                       const EntryLocation& entry,
                                       EntryView pin = {});

  uint64_t count() const { return count_; }
  // The CRC-32 of a block. Nothing if the sums are damaged there.
  std::optional<uint32_t> SumOf(uint64_t block) const;
  // Whether none is damaged, and together they give the entry's own checksum.
  bool MatchEntry() const;

 private:
  BlockSums(absl::string_view payload, const EntryLocation& entry,
            EntryView pin)
      : payload_(payload),
        count_(CountBlocks(entry.payload_size)),
        entry_(entry),
        pin_(std::move(pin)) {}
  // The sums of a group, checked; empty if they are damaged.
  absl::Span<const std::byte> ReadGroup(uint64_t group,
                                        absl::Span<std::byte> buffer) const;

  absl::string_view payload_;
  uint64_t count_;
  EntryLocation entry_;
  EntryView pin_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_ENTRY_BLOCK_SUMS_H_
