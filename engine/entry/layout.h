// Where the parts of an entry lie, derived from its metadata. These are the
// bounds rules that readers, recovery and iteration share. Thread-safe.

#ifndef VARVE_ENGINE_ENTRY_LAYOUT_H_
#define VARVE_ENGINE_ENTRY_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "engine/entry/checked_offset.h"
#include "engine/entry/entry.h"

namespace varve {

// CRC-32 of the payload of every tombstone, a single zero byte.
inline constexpr uint32_t kTombstoneCrc32 = 0xd202ef8d;

// What an entry can be, judged by the bounds of its metadata.
enum class EntryShape { kInvalid, kValue, kTombstone };

// The shape of an entry with metadata at `metadata_offset`. `byte_before` is
// the byte before the metadata, which distinguishes a tombstone from a value of
// one byte. No file has metadata beyond kMaxFileOffset.
constexpr EntryShape ShapeOf(uint64_t prev_tail, uint64_t metadata_offset,
                             std::byte byte_before) {
  if (prev_tail >= metadata_offset || metadata_offset > kMaxFileOffset) {
    return EntryShape::kInvalid;
  }
  if (prev_tail + 1 == metadata_offset && byte_before == std::byte{0}) {
    return EntryShape::kTombstone;
  }
  return Align64(prev_tail) < metadata_offset ? EntryShape::kValue
                                              : EntryShape::kInvalid;
}

// The entry with metadata at `metadata_offset`, which must be at least 1.
// `before_metadata` points at the byte before the metadata. Returns nothing if
// no entry can have such bounds. Does not look at the checksum. Refuses
// metadata of zeros: that is what a lost page leaves, and it would claim
// everything before it as the payload of the first entry.
inline std::optional<EntryLocation> LocateEntry(
    const std::byte* before_metadata, uint64_t metadata_offset) {
  const Metadata metadata = DecodeMetadata(before_metadata + 1);
  if (metadata.key_hash == 0 && metadata.prev_tail == 0 &&
      metadata.crc32 == 0) {
    return std::nullopt;
  }
  const EntryShape shape =
      ShapeOf(metadata.prev_tail, metadata_offset, *before_metadata);
  if (shape == EntryShape::kInvalid) return std::nullopt;
  const bool is_tombstone = shape == EntryShape::kTombstone;
  const uint64_t start =
      is_tombstone ? metadata.prev_tail : Align64(metadata.prev_tail);
  return EntryLocation{.key_hash = metadata.key_hash,
                       .payload_offset = start,
                       .payload_size = metadata_offset - start,
                       .prev_tail = metadata.prev_tail,
                       .crc32 = metadata.crc32,
                       .is_tombstone = is_tombstone};
}

// The entry that ends at `end` in the mapped file `file`. `end` may be any
// number: where no entry can end, the result is nothing.
inline std::optional<EntryLocation> LocateEntryEndingAt(
    absl::Span<const std::byte> file, uint64_t end) {
  // An entry has no fewer bytes than a tombstone.
  if (end < kTombstoneSize || end > file.size()) return std::nullopt;
  return LocateEntry(file.data() + (end - kTombstoneSize), end - kMetadataSize);
}

// The entry with metadata at `metadata_offset` in the mapped file `file`,
// likewise.
inline std::optional<EntryLocation> LocateEntryAt(
    absl::Span<const std::byte> file, uint64_t metadata_offset) {
  if (metadata_offset > kMaxFileOffset) return std::nullopt;
  return LocateEntryEndingAt(file, metadata_offset + kMetadataSize);
}

}  // namespace varve

#endif  // VARVE_ENGINE_ENTRY_LAYOUT_H_
