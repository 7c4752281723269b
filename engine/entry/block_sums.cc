#include "engine/entry/block_sums.h"

#include <array>
#include <cstring>

#include "engine/base/endian.h"
#include "engine/entry/crc32_combine.h"

namespace varve {
namespace {

constexpr uint32_t kMagic = 0x31535256;  // "VRS1"
constexpr size_t kHeaderSize = 4 + 4 + 8 + 8;
constexpr size_t kSumSize = 4;
// The sums of a group and the check behind them take 4 KiB, so that checking a
// block reads no more than that of the sums.
constexpr uint64_t kGroup = 1022;
constexpr size_t kCheckSize = 8;
constexpr size_t kGroupSize = kGroup * kSumSize + kCheckSize;
// What the check of a group covers: header, number of the group, sums.
constexpr size_t kCheckedPrefix = kHeaderSize + 8;
constexpr size_t kMaxChecked = kCheckedPrefix + kGroup * kSumSize;

using CheckBuffer = std::array<std::byte, kMaxChecked>;

constexpr uint64_t CountGroups(uint64_t blocks) {
  return blocks / kGroup + (blocks % kGroup != 0 ? 1 : 0);
}

// Of the blocks in a group.
constexpr uint64_t CountInGroup(uint64_t blocks, uint64_t group) {
  return std::min(kGroup, blocks - group * kGroup);
}

uint64_t CheckOf(absl::Span<const std::byte> checked) {
  return HashKey(
      {reinterpret_cast<const char*>(checked.data()), checked.size()});
}

void EncodeHeader(uint64_t key_hash, uint64_t payload_size, uint32_t crc32,
                  std::byte* out) {
  StoreLittle32(kMagic, out);
  StoreLittle32(crc32, out + 4);
  StoreLittle64(key_hash, out + 8);
  StoreLittle64(payload_size, out + 16);
}

}  // namespace

void BlockSummer::Add(absl::Span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto part = bytes.first(
        std::min<uint64_t>(bytes.size(), kSumBlockSize - rest_size_));
    rest_crc_ = Crc32(rest_crc_, part);
    rest_size_ += part.size();
    bytes.remove_prefix(part.size());
    if (rest_size_ < kSumBlockSize) return;
    crc_ = Crc32Combine(crc_, rest_crc_, kSumBlockSize);
    sums_.push_back(rest_crc_);
    rest_crc_ = 0;
    rest_size_ = 0;
  }
}

uint32_t BlockSummer::crc32() const {
  return Crc32Combine(crc_, rest_crc_, rest_size_);
}

std::string BlockSummer::Encode(uint64_t key_hash) const {
  std::string payload(BlockSums::SizeFor(size()), '\0');
  auto* const out = reinterpret_cast<std::byte*>(payload.data());
  EncodeHeader(key_hash, size(), crc32(), out);
  CheckBuffer buffer;
  std::memcpy(buffer.data(), out, kHeaderSize);
  std::byte* at = out + kHeaderSize;
  for (uint64_t group = 0; group < CountGroups(sums_.size()); ++group) {
    const uint64_t count = CountInGroup(sums_.size(), group);
    StoreLittle64(group, buffer.data() + kHeaderSize);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t block = group * kGroup + i;
      const bool is_last = block + 1 == sums_.size();
      StoreLittle32(is_last ? Crc32Combine(sums_[block], rest_crc_, rest_size_)
                            : sums_[block],
                    buffer.data() + kCheckedPrefix + i * kSumSize);
    }
    std::memcpy(at, buffer.data() + kCheckedPrefix, count * kSumSize);
    at += count * kSumSize;
    StoreLittle64(CheckOf(absl::MakeConstSpan(buffer).first(kCheckedPrefix +
                                                            count * kSumSize)),
                  at);
    at += kCheckSize;
  }
  return payload;
}

uint64_t BlockSums::SizeFor(uint64_t payload_size) {
  const uint64_t blocks = CountBlocks(payload_size);
  return kHeaderSize + blocks * kSumSize + CountGroups(blocks) * kCheckSize;
}

std::optional<uint64_t> BlockSums::DataKeyIn(absl::string_view payload) {
  if (payload.size() < kHeaderSize) return std::nullopt;
  const auto* const in = reinterpret_cast<const std::byte*>(payload.data());
  if (LoadLittle32(in) != kMagic) return std::nullopt;
  return LoadLittle64(in + 8);
}

std::optional<BlockSums> BlockSums::Open(absl::string_view payload,
                                         const EntryLocation& entry,
                                         EntryView pin) {
  if (entry.is_tombstone || entry.payload_size < kMinSummedSize ||
      payload.size() != SizeFor(entry.payload_size)) {
    return std::nullopt;
  }
  std::array<std::byte, kHeaderSize> header;
  EncodeHeader(entry.key_hash, entry.payload_size, entry.crc32, header.data());
  if (std::memcmp(payload.data(), header.data(), kHeaderSize) != 0) {
    return std::nullopt;
  }
  return BlockSums(payload, entry, std::move(pin));
}

absl::Span<const std::byte> BlockSums::ReadGroup(
    uint64_t group, absl::Span<std::byte> buffer) const {
  const uint64_t size = CountInGroup(count_, group) * kSumSize;
  const auto* const in = reinterpret_cast<const std::byte*>(payload_.data()) +
                         kHeaderSize + group * kGroupSize;
  // The header as it should be, and not as it may have become meanwhile.
  EncodeHeader(entry_.key_hash, entry_.payload_size, entry_.crc32,
               buffer.data());
  StoreLittle64(group, buffer.data() + kHeaderSize);
  std::memcpy(buffer.data() + kCheckedPrefix, in, size);
  const auto checked = buffer.first(kCheckedPrefix + size);
  if (CheckOf(checked) != LoadLittle64(in + size)) return {};
  return checked.subspan(kCheckedPrefix);
}

std::optional<uint32_t> BlockSums::SumOf(uint64_t block) const {
  if (block >= count_) return std::nullopt;
  CheckBuffer buffer;
  const auto sums = ReadGroup(block / kGroup, absl::MakeSpan(buffer));
  if (sums.empty()) return std::nullopt;
  return LoadLittle32(sums.data() + block % kGroup * kSumSize);
}

bool BlockSums::MatchEntry() const {
  CheckBuffer buffer;
  uint32_t crc = 0;
  for (uint64_t group = 0; group < CountGroups(count_); ++group) {
    const auto sums = ReadGroup(group, absl::MakeSpan(buffer));
    if (sums.empty()) return false;
    for (uint64_t i = 0; i < sums.size() / kSumSize; ++i) {
      const BlockRange block = BlockAt(entry_.payload_size, group * kGroup + i);
      crc = Crc32Combine(crc, LoadLittle32(sums.data() + i * kSumSize),
                         block.end - block.begin);
    }
  }
  return crc == entry_.crc32;
}

}  // namespace varve
