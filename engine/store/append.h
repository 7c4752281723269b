// Append: the bytes of one append, assembled in memory, and the changes to the
// index that take effect once they are written.
//
// Large payloads are referred to and not copied. Small ones are copied next to
// their metadata, which costs less than a piece of their own costs the kernel.
//
// Not thread-safe.

#ifndef VARVE_ENGINE_STORE_APPEND_H_
#define VARVE_ENGINE_STORE_APPEND_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/entry/entry.h"
#include "engine/io/file.h"
#include "engine/store/generation.h"

namespace varve {

using PayloadPieces = absl::Span<const absl::Span<const std::byte>>;

// The CRC-32 of the concatenated pieces.
uint32_t Crc32OfPieces(PayloadPieces pieces);

// INVALID_ARGUMENT for a payload that the format cannot hold: an empty one, and
// a single NUL byte, which would read as a tombstone.
absl::Status CheckPayload(PayloadPieces pieces);

class Append {
 public:
  Append() = default;
  Append(const Append&) = delete;
  Append& operator=(const Append&) = delete;

  // Must be called first. The first entry follows the one that ends at `tail`.
  // The first byte goes to `write_offset`, which is `tail` or the end of the
  // stream that lies there.
  void Start(uint64_t tail, uint64_t write_offset);

  uint64_t tail() const { return tail_; }  // once written
  uint64_t write_offset() const { return write_offset_; }
  uint64_t end() const { return end_; }  // of the bytes to write
  bool empty() const { return pieces_.empty(); }
  absl::Span<const IndexUpdate> updates() const { return updates_; }

  // Adds an entry. The payload must pass CheckPayload() and stay valid until
  // Write() has returned.
  EntryLocation Add(uint64_t key_hash, PayloadPieces payload, uint32_t crc32);
  // The same for a payload that nobody else keeps.
  EntryLocation AddOwned(uint64_t key_hash, std::string payload);
  EntryLocation AddTombstone(uint64_t key_hash);

  // Makes an entry of the bytes of a stream that already lie between
  // Align64(tail()) and end().
  EntryLocation AddEndOfStream(uint64_t key_hash, uint32_t crc32);

  // Adds the first or further bytes of a stream, whose first byte lies at
  // Align64(tail()). No entry can follow.
  void AddStreamBytes(absl::Span<const std::byte> bytes, bool is_first);

  // Writes everything. After an error any part may have been written.
  // DATA_LOSS, with nothing written, if payloads lie in a mapping and bytes of
  // it are lost: the store would get zeros with a checksum that matches.
  absl::Status Write(File& file);

 private:
  static constexpr size_t kCopiedSize = 1024;  // of pieces, at most
  static constexpr size_t kFirstChunk = kCopiedSize + 128;
  static constexpr size_t kFurtherChunk = size_t{64} << 10;

  // Adds `size` bytes, which the caller must fill in at once.
  std::byte* AddSpace(size_t size);
  void AddPad();
  void AddBytes(absl::Span<const std::byte> bytes);
  // Adds the metadata and the update of the index.
  void AddMetadata(const EntryLocation& entry);

  uint64_t tail_ = 0;
  uint64_t write_offset_ = 0;
  uint64_t end_ = 0;
  bool has_lost_bytes_ = false;  // among the copied bytes
  absl::InlinedVector<struct iovec, 4> pieces_;
  absl::InlinedVector<IndexUpdate, 2> updates_;

  // Copied payloads, padding and metadata lie in chunks, which do not move.
  // Most appends need the first one only.
  std::byte first_chunk_[kFirstChunk];
  std::vector<std::unique_ptr<std::byte[]>> further_chunks_;
  std::vector<std::unique_ptr<const std::string>> owned_;
  absl::Span<std::byte> space_ =
      absl::MakeSpan(first_chunk_);  // not in use yet
};

}  // namespace varve

#endif  // VARVE_ENGINE_STORE_APPEND_H_
