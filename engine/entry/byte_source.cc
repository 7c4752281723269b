#include "engine/entry/byte_source.h"

#include <algorithm>

#include "absl/types/span.h"
#include "engine/entry/layout.h"
#include "engine/io/io_util.h"

namespace varve {
namespace {

class MappedSource final : public ByteSource {
 public:
  MappedSource(const Mapping& mapping, uint64_t size)
      : ByteSource(size), mapping_(mapping) {}

  const std::byte* DoAt(uint64_t offset, size_t /*length*/) override {
    return mapping_.data() + offset;
  }

  uint32_t DoCrc32Of(uint32_t crc, uint64_t offset, uint64_t length) override {
    return Crc32(crc, {mapping_.data() + offset, static_cast<size_t>(length)});
  }

 private:
  const Mapping& mapping_;
};

class FileSource final : public ByteSource {
 public:
  FileSource(File& file, uint64_t size) : ByteSource(size), file_(file) {}

  const std::byte* DoAt(uint64_t offset, size_t length) override {
    if (!IsBuffered(offset, length)) {
      uint64_t begin = offset;
      uint64_t end = offset + length;
      // Small reads close to each other come from walking a chain or copying
      // entries, which continues in the same direction, so a window pays off.
      // Other reads are at random places and must not cost a window each.
      if (length <= kSmall && offset < buffer_offset_ &&
          buffer_offset_ - offset < kWindow) {
        begin = end > kWindow ? end - kWindow : 0;
      } else if (length <= kSmall && offset >= buffer_offset_ &&
                 offset - buffer_offset_ < buffer_.size() + kWindow) {
        end = std::min(offset + kWindow, size());
      }
      buffer_offset_ = begin;
      buffer_.resize(end - begin);
      if (!ReadExactly(file_, begin, absl::MakeSpan(buffer_)).ok()) {
        buffer_.clear();
        return nullptr;
      }
    }
    return buffer_.data() + (offset - buffer_offset_);
  }

  uint32_t DoCrc32Of(uint32_t crc, uint64_t offset, uint64_t length) override {
    crc_buffer_.resize(kChunk);
    while (length > 0) {
      const auto chunk =
          absl::MakeSpan(crc_buffer_).first(std::min<uint64_t>(length, kChunk));
      // The inverse of the checksum so far is as good as any wrong value.
      if (!ReadExactly(file_, offset, chunk).ok()) return ~crc;
      crc = Crc32(crc, chunk);
      offset += chunk.size();
      length -= chunk.size();
    }
    return crc;
  }

 private:
  static constexpr size_t kSmall = 4096;
  static constexpr uint64_t kWindow = uint64_t{64} << 10;
  static constexpr size_t kChunk = size_t{1} << 20;

  bool IsBuffered(uint64_t offset, size_t length) const {
    return offset >= buffer_offset_ &&
           offset + length <= buffer_offset_ + buffer_.size();
  }

  File& file_;
  std::vector<std::byte> buffer_;
  uint64_t buffer_offset_ = 0;
  std::vector<std::byte> crc_buffer_;
};

}  // namespace

std::optional<EntryLocation> ByteSource::EntryEndingAt(CheckedOffset end) {
  const auto start = end.Before(kTombstoneSize);  // the smallest entry
  if (!start.has_value()) return std::nullopt;
  const std::byte* const bytes = At(*start, kTombstoneSize);
  if (bytes == nullptr) return std::nullopt;
  return LocateEntry(bytes, end.value() - kMetadataSize);
}

std::unique_ptr<ByteSource> ByteSource::FromMapping(const Mapping& mapping,
                                                    uint64_t size) {
  return std::make_unique<MappedSource>(mapping, size);
}

std::unique_ptr<ByteSource> ByteSource::FromFile(File& file, uint64_t size) {
  return std::make_unique<FileSource>(file, size);
}

}  // namespace varve
