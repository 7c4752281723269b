#include "engine/store/append.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "engine/io/bus_guard.h"
#include "engine/io/io_util.h"

namespace varve {

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

void Append::Start(uint64_t tail, uint64_t write_offset) {
  tail_ = tail;
  write_offset_ = write_offset;
  end_ = write_offset;
}

std::byte* Append::AddSpace(size_t size) {
  if (size > space_.size()) {
    further_chunks_.emplace_back(new std::byte[kFurtherChunk]);
    space_ = absl::MakeSpan(further_chunks_.back().get(), kFurtherChunk);
  }
  std::byte* const bytes = space_.data();
  space_.remove_prefix(size);
  if (!pieces_.empty() && static_cast<std::byte*>(pieces_.back().iov_base) +
                                  pieces_.back().iov_len ==
                              bytes) {
    pieces_.back().iov_len += size;
  } else {
    pieces_.push_back({.iov_base = bytes, .iov_len = size});
  }
  end_ += size;
  return bytes;
}

void Append::AddPad() {
  const size_t size = Align64(end_) - end_;
  if (size > 0) std::memset(AddSpace(size), 0, size);
}

void Append::AddBytes(absl::Span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (bytes.size() <= kCopiedSize) {
    std::memcpy(AddSpace(bytes.size()), bytes.data(), bytes.size());
    has_lost_bytes_ |= HasLostBytes(bytes);
    return;
  }
  pieces_.push_back(PieceOf(bytes));
  end_ += bytes.size();
}

void Append::AddMetadata(const EntryLocation& entry) {
  EncodeMetadata({.key_hash = entry.key_hash,
                  .prev_tail = entry.prev_tail,
                  .crc32 = entry.crc32},
                 AddSpace(kMetadataSize));
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
  AddMetadata(entry);
  return entry;
}

EntryLocation Append::AddOwned(uint64_t key_hash, std::string payload) {
  owned_.push_back(std::make_unique<const std::string>(std::move(payload)));
  const absl::Span<const std::byte> bytes = AsBytes(*owned_.back());
  return Add(key_hash, {bytes}, Crc32(0, bytes));
}

EntryLocation Append::AddTombstone(uint64_t key_hash) {
  const EntryLocation entry = {.key_hash = key_hash,
                               .payload_offset = end_,
                               .payload_size = 1,
                               .prev_tail = tail_,
                               .crc32 = kTombstoneCrc32,
                               .is_tombstone = true};
  *AddSpace(1) = std::byte{0};
  AddMetadata(entry);
  return entry;
}

EntryLocation Append::AddEndOfStream(uint64_t key_hash, uint32_t crc32) {
  const uint64_t start = Align64(tail_);
  const EntryLocation entry = {.key_hash = key_hash,
                               .payload_offset = start,
                               .payload_size = end_ - start,
                               .prev_tail = tail_,
                               .crc32 = crc32};
  AddMetadata(entry);
  return entry;
}

void Append::AddStreamBytes(absl::Span<const std::byte> bytes, bool is_first) {
  if (is_first) AddPad();
  AddBytes(bytes);
}

absl::Status Append::Write(File& file) {
  for (const struct iovec& piece : pieces_) {
    has_lost_bytes_ |= HasLostBytes(
        {static_cast<const std::byte*>(piece.iov_base), piece.iov_len});
  }
  if (has_lost_bytes_) {
    return ErrorWithCode(absl::StatusCode::kDataLoss, EIO,
                         "what was to be copied cannot be read any more");
  }
  return WriteFully(file, write_offset_, absl::MakeSpan(pieces_));
}

}  // namespace varve
