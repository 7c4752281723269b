// Append: the bytes of one append, put together in memory, and what they will
// do to the index once they are written. Payloads are referred to, not copied.
//
// Not thread-safe.

#ifndef VARVE_ENGINE_APPEND_H_
#define VARVE_ENGINE_APPEND_H_

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/entry.h"
#include "engine/file.h"
#include "engine/generation.h"

namespace varve {

using PayloadPieces = absl::Span<const absl::Span<const std::byte>>;

// CRC-32 of the concatenation.
uint32_t Crc32OfPieces(PayloadPieces pieces);

// Refuses a payload that the format cannot hold: an empty one, and a single NUL
// byte, which reads as a tombstone.
absl::Status CheckPayload(PayloadPieces pieces);

class Append {
 public:
  // The first entry follows the one that ends at `tail`. The first byte goes to
  // `write_offset`: the same, or the end of the stream that lies there.
  Append(uint64_t tail, uint64_t write_offset)
      : tail_(tail), write_offset_(write_offset), end_(write_offset) {}

  uint64_t tail() const { return tail_; }  // once written
  uint64_t write_offset() const { return write_offset_; }
  uint64_t end() const { return end_; }  // of the bytes to write
  bool empty() const { return pieces_.empty(); }
  absl::Span<const IndexUpdate> updates() const { return updates_; }

  // Adds an entry. The payload must be valid, and live on until Write().
  EntryLocation Add(uint64_t key_hash, PayloadPieces payload, uint32_t crc32);
  EntryLocation AddTombstone(uint64_t key_hash);

  // Makes an entry of the bytes of a stream that lie between Align64(tail())
  // and end() already.
  EntryLocation AddEndOfStream(uint64_t key_hash, uint32_t crc32);

  // Adds the first or further bytes of a stream. No entry can follow. The
  // stream's first byte lies at Align64(tail()).
  void AddStreamBytes(absl::Span<const std::byte> bytes, bool is_first);

  // Writes it all. After an error any part may have been written.
  absl::Status Write(File& file);

 private:
  // Metadata, with the byte before it that a tombstone has.
  using Trailer = std::array<std::byte, kTombstoneSize>;

  void AddPad();
  void AddBytes(absl::Span<const std::byte> bytes);
  // Adds the last `size` bytes of a new trailer, and the update of the index.
  void AddTrailer(const EntryLocation& entry, size_t size);

  uint64_t tail_;
  const uint64_t write_offset_;
  uint64_t end_;
  // A piece without an address stands for the next of the trailers, which move
  // until all have been added.
  absl::InlinedVector<struct iovec, 8> pieces_;
  absl::InlinedVector<Trailer, 2> trailers_;
  absl::InlinedVector<IndexUpdate, 2> updates_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_APPEND_H_
