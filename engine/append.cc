#include "engine/append.h"

#include "engine/io_util.h"
#include "engine/layout.h"

namespace varve {
namespace {

constexpr std::array<std::byte, kPayloadAlignment> kZeros = {};

}  // namespace

uint32_t Crc32OfPieces(PayloadPieces pieces) {
  uint32_t crc = 0;
  for (const absl::Span<const std::byte> piece : pieces) {
    crc = Crc32(crc, piece);
  }
  return crc;
}

absl::Status CheckPayload(PayloadPieces pieces) {
  uint64_t size = 0;
  std::byte last{};
  for (const absl::Span<const std::byte> piece : pieces) {
    size += piece.size();
    if (!piece.empty()) last = piece.back();
  }
  if (size == 0) return absl::InvalidArgumentError("the payload is empty");
  if (size == 1 && last == std::byte{0}) {
    return absl::InvalidArgumentError(
        "the payload is a single NUL byte, which means deletion in the store");
  }
  return absl::OkStatus();
}

void Append::AddPad() {
  AddBytes(absl::MakeSpan(kZeros).first(Align64(end_) - end_));
}

void Append::AddBytes(absl::Span<const std::byte> bytes) {
  if (bytes.empty()) return;
  pieces_.push_back(PieceOf(bytes));
  end_ += bytes.size();
}

void Append::AddTrailer(const EntryLocation& entry, size_t size) {
  Trailer& trailer = trailers_.emplace_back();
  trailer.front() = std::byte{0};
  EncodeMetadata({.key_hash = entry.key_hash,
                  .prev_tail = entry.prev_tail,
                  .crc32 = entry.crc32},
                 trailer.data() + 1);
  pieces_.push_back({.iov_base = nullptr, .iov_len = size});
  end_ += size;
  tail_ = end_;
  updates_.push_back({entry.key_hash, entry.is_tombstone
                                          ? Index::kDeleted
                                          : entry.metadata_offset()});
}

EntryLocation Append::Add(uint64_t key_hash, PayloadPieces payload,
                          uint32_t crc32) {
  EntryLocation entry = {
      .key_hash = key_hash, .prev_tail = tail_, .crc32 = crc32};
  AddPad();
  entry.payload_offset = end_;
  for (const absl::Span<const std::byte> piece : payload) AddBytes(piece);
  entry.payload_size = end_ - entry.payload_offset;
  AddTrailer(entry, kMetadataSize);
  return entry;
}

EntryLocation Append::AddTombstone(uint64_t key_hash) {
  const EntryLocation entry = {.key_hash = key_hash,
                               .payload_offset = end_,
                               .payload_size = 1,
                               .prev_tail = tail_,
                               .crc32 = kTombstoneCrc32,
                               .is_tombstone = true};
  AddTrailer(entry, kTombstoneSize);
  return entry;
}

EntryLocation Append::AddEndOfStream(uint64_t key_hash, uint32_t crc32) {
  const uint64_t start = Align64(tail_);
  const EntryLocation entry = {.key_hash = key_hash,
                               .payload_offset = start,
                               .payload_size = end_ - start,
                               .prev_tail = tail_,
                               .crc32 = crc32};
  AddTrailer(entry, kMetadataSize);
  return entry;
}

void Append::AddStreamBytes(absl::Span<const std::byte> bytes, bool is_first) {
  if (is_first) AddPad();
  AddBytes(bytes);
}

absl::Status Append::Write(File& file) {
  size_t next = 0;
  for (struct iovec& piece : pieces_) {
    if (piece.iov_base == nullptr) {
      Trailer& trailer = trailers_[next++];
      piece.iov_base = trailer.data() + (trailer.size() - piece.iov_len);
    }
  }
  return WriteFully(file, write_offset_, absl::MakeSpan(pieces_));
}

}  // namespace varve
