// The entry format: constants, metadata and views. docs/format.md is normative;
// only this header, layout.h and entry.cc implement it. Thread rules: free
// functions are thread-safe, other types say their own.
//
//   entry     = pad to align64(prev_tail) | payload | metadata
//   tombstone =                             0x00    | metadata
//   metadata  = key_hash u64 | prev_tail u64 | crc32 u32      (little-endian)

#ifndef VARVE_ENGINE_ENTRY_ENTRY_H_
#define VARVE_ENGINE_ENTRY_ENTRY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/base/endian.h"
#include "engine/io/file.h"

struct XXH3_state_s;

namespace varve {

inline constexpr uint64_t kPayloadAlignment = 64;
inline constexpr uint64_t kMetadataSize = 20;
inline constexpr uint64_t kTombstoneSize = 1 + kMetadataSize;

// `offset` rounded up to a multiple of 64. It never wraps: if there is no such
// multiple, the result is the largest number there is, which lies in no file.
constexpr uint64_t Align64(uint64_t offset) {
  if (offset > UINT64_MAX - (kPayloadAlignment - 1)) return UINT64_MAX;
  return (offset + (kPayloadAlignment - 1)) & ~(kPayloadAlignment - 1);
}

// XXH3_64bits with seed 0: the hash by which an entry is known.
uint64_t HashKey(absl::string_view key);
// XXH3_64bits with another seed; nothing at the entry level uses it.
uint64_t HashWithSeed(absl::string_view bytes, uint64_t seed);

// Computes HashKey() of bytes that come in pieces. Not thread-safe.
class PiecewiseHash {
 public:
  PiecewiseHash();
  ~PiecewiseHash();
  PiecewiseHash(const PiecewiseHash&) = delete;
  PiecewiseHash& operator=(const PiecewiseHash&) = delete;

  void Add(absl::string_view piece);
  // The hash of all pieces so far.
  uint64_t value() const;

 private:
  XXH3_state_s* const state_;
};

// The hash of a key within a namespace: of the 16 bytes
// HashKey(name_space) ‖ HashKey(key), each big-endian or little-endian as the
// original does it (little-endian).
uint64_t HashNamespacedKey(absl::string_view name_space, absl::string_view key);

// The key of an entry. The store knows keys by their hash alone, so this holds
// only the hash, whether it was made from bytes, from a namespace and a key, or
// from a hash. Immutable.
class EntryKey {
 public:
  // From the bytes of a key. Implicit, so that callers can write keys as text.
  EntryKey(absl::string_view bytes) : hash_(HashKey(bytes)) {}
  EntryKey(const std::string& bytes) : hash_(HashKey(bytes)) {}
  EntryKey(const char* bytes) : hash_(HashKey(bytes)) {}
  // A number is not taken for a hash unless the caller says so, with OfHash().
  EntryKey(int) = delete;
  EntryKey(uint64_t) = delete;

  static EntryKey OfHash(uint64_t hash) { return EntryKey(hash, Hash()); }
  static EntryKey InNamespace(absl::string_view name_space,
                              absl::string_view key) {
    return OfHash(HashNamespacedKey(name_space, key));
  }

  uint64_t hash() const { return hash_; }

 private:
  struct Hash {};
  EntryKey(uint64_t hash, Hash) : hash_(hash) {}

  uint64_t hash_;
};

// The same bytes as a span, as payloads are passed. Valid as long as `text`.
inline absl::Span<const std::byte> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// CRC-32 as zlib computes it (IEEE 802.3), continued from `crc`; 0 starts one.
uint32_t Crc32(uint32_t crc, absl::Span<const std::byte> bytes);

struct Metadata {
  uint64_t key_hash = 0;
  uint64_t prev_tail = 0;
  uint32_t crc32 = 0;
};

// Both handle exactly kMetadataSize bytes. They are inline because walking a
// chain consists of little else than decoding.
inline void EncodeMetadata(const Metadata& metadata, std::byte* out) {
  StoreLittle64(metadata.key_hash, out);
  StoreLittle64(metadata.prev_tail, out + 8);
  StoreLittle32(metadata.crc32, out + 16);
}

inline Metadata DecodeMetadata(const std::byte* in) {
  return {.key_hash = LoadLittle64(in),
          .prev_tail = LoadLittle64(in + 8),
          .crc32 = LoadLittle32(in + 16)};
}

// Where an entry lies. All offsets are absolute in the store file.
struct EntryLocation {
  uint64_t key_hash = 0;
  uint64_t payload_offset = 0;
  uint64_t payload_size = 0;  // 1 for a tombstone
  uint64_t prev_tail = 0;
  uint32_t crc32 = 0;
  bool is_tombstone = false;

  uint64_t metadata_offset() const { return payload_offset + payload_size; }
  uint64_t end() const { return metadata_offset() + kMetadataSize; }
  // Pad, payload and metadata together.
  uint64_t size_on_disk() const { return end() - prev_tail; }
};

// One entry of a store, pinned: its bytes stay valid and unchanged as long as
// any copy of the view lives, even across a compaction and after the Store is
// gone. This does not hold if another program truncates the file or the disk
// fails: see bus_guard.h. Copies are cheap. Immutable, hence thread-safe.
class EntryView {
 public:
  EntryView() = default;
  EntryView(std::shared_ptr<const Mapping> pin, const EntryLocation& location)
      : pin_(std::move(pin)), location_(location) {}

  // Starts at a multiple of 64 in memory and in the file (not for a tombstone).
  absl::Span<const std::byte> payload() const {
    return {pin_->data() + location_.payload_offset,
            static_cast<size_t>(location_.payload_size)};
  }
  absl::string_view payload_text() const {
    return {reinterpret_cast<const char*>(payload().data()), payload().size()};
  }
  const EntryLocation& location() const { return location_; }
  uint64_t key_hash() const { return location_.key_hash; }
  uint64_t size() const { return location_.payload_size; }
  uint64_t size_on_disk() const { return location_.size_on_disk(); }
  uint32_t checksum() const { return location_.crc32; }
  bool is_tombstone() const { return location_.is_tombstone; }

  // Whether the payload still matches its checksum. Reads all of it through the
  // mapping, which may raise SIGBUS if the disk fails. Store::Verify() reads
  // through the seam instead and returns an error.
  bool HasValidChecksum() const;

 private:
  std::shared_ptr<const Mapping> pin_;
  EntryLocation location_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_ENTRY_ENTRY_H_
