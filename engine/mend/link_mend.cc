#include "engine/mend/link_mend.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/endian.h"
#include "engine/entry/layout.h"

namespace varve {
namespace {

constexpr uint64_t kPrevTailOffset = 8;  // in the metadata

// How many entries above a break to try. A wrong link can make a few places
// below the damaged entry look like entries, but not many.
constexpr size_t kMaxCandidates = 64;
constexpr size_t kMaxAstray = 4;

std::string Encoded(uint64_t value) {
  std::string bytes(sizeof(value), '\0');
  StoreLittle64(value, reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

Mend LinkMend(uint64_t metadata_offset, uint64_t prev_tail,
              bool proved_by_checksum) {
  const uint64_t link = metadata_offset + kPrevTailOffset;
  return {
      .offset = link,
      .bytes = Encoded(prev_tail),
      .reason =
          proved_by_checksum
              ? absl::StrCat("the link at offset ", link,
                             " to the entry before is damaged; it leads to ",
                             prev_tail)
              : absl::StrCat("the bytes before offset ", metadata_offset,
                             " are damaged, from ", prev_tail, " on")};
}

std::optional<Metadata> MetadataAt(ByteSource& bytes, CheckedOffset offset) {
  const std::byte* const data = bytes.At(offset, kMetadataSize);
  if (data == nullptr) return std::nullopt;
  return DecodeMetadata(data);
}

// The entry with metadata there, provided that it is whole once its link leads
// to `tail`.
std::optional<Mend> ProvedMend(ByteSource& bytes, CheckedOffset at,
                               CheckedOffset checked_tail) {
  const uint64_t metadata_offset = at.value();
  const uint64_t tail = checked_tail.value();
  const auto metadata = MetadataAt(bytes, at);
  if (!metadata.has_value()) return std::nullopt;
  if (tail + 1 == metadata_offset && metadata->crc32 == kTombstoneCrc32) {
    const std::byte* const payload = bytes.At(checked_tail, 1);
    if (payload == nullptr) return std::nullopt;
    if (*payload == std::byte{0}) return LinkMend(metadata_offset, tail, true);
    if (metadata->prev_tail != tail) return std::nullopt;
    return Mend{.offset = tail,
                .bytes = std::string(1, '\0'),
                .reason = absl::StrCat("the byte of the tombstone at offset ",
                                       tail, " is damaged")};
  }
  const auto start = bytes.Check(Align64(tail));
  if (!start.has_value() || start->value() >= metadata_offset ||
      bytes.Crc32Of(0, *start, metadata_offset - start->value()) !=
          metadata->crc32) {
    return std::nullopt;
  }
  return LinkMend(metadata_offset, tail, true);
}

bool IsWholeEntryEnd(ByteSource& bytes, CheckedOffset end) {
  const auto entry = bytes.EntryEndingAt(end);
  return entry.has_value() && bytes.HasValidChecksum(*entry);
}

// The metadata offsets of the entries above a break that the chain from
// `at.upper` reaches, the lowest last.
std::vector<CheckedOffset> MetadataAbove(ByteSource& bytes, const Break& at) {
  std::vector<CheckedOffset> above;
  auto end = bytes.Check(at.upper);
  while (end.has_value() && end->value() > at.tail &&
         end->value() >= kTombstoneSize) {
    above.push_back(*end->Before(kMetadataSize));
    const auto entry = bytes.EntryEndingAt(*end);
    if (!entry.has_value()) break;
    end = bytes.Check(entry->prev_tail);
  }
  return above;
}

// Whether the mend changes no more than one bit.
bool IsOneBit(ByteSource& bytes, const Mend& mend) {
  const auto offset = bytes.Check(mend.offset);
  if (!offset.has_value()) return false;
  const std::byte* const old = bytes.At(*offset, mend.bytes.size());
  if (old == nullptr) return false;
  int bits = 0;
  for (size_t i = 0; i < mend.bytes.size(); ++i) {
    bits += std::popcount(
        static_cast<uint8_t>(std::to_integer<uint8_t>(old[i]) ^
                             static_cast<uint8_t>(mend.bytes[i])));
  }
  return bits == 1;
}

}  // namespace

std::optional<uint64_t> FindFlippedBit(uint32_t difference, uint64_t length) {
  // Each byte advances both checksums in the same way, and so their difference,
  // too. This loop goes backwards, byte by byte, until the difference is that
  // of a single bit.
  constexpr uint32_t kPolynomial = 0xedb88320;  // reflected
  std::array<uint32_t, 8> of_bit{};  // what each bit of the last byte changes
  std::array<uint32_t, 256> table{};
  std::array<uint8_t, 256> index_of_top{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int step = 0; step < 8; ++step) {
      value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
    }
    table[i] = value;
    index_of_top[value >> 24] = static_cast<uint8_t>(i);
    for (int bit = 0; bit < 8; ++bit) {
      if (i == 1u << bit) of_bit[bit] = value;
    }
  }
  for (uint64_t behind = 0; behind < length; ++behind) {
    for (int bit = 0; bit < 8; ++bit) {
      if (difference == of_bit[bit]) return (length - 1 - behind) * 8 + bit;
    }
    const uint8_t index = index_of_top[difference >> 24];
    difference = (difference ^ table[index]) << 8 | index;
  }
  return std::nullopt;
}

std::optional<Mend> FindLinkMend(ByteSource& bytes, const Break& at) {
  const auto tail = bytes.Check(at.tail);
  if (!tail.has_value()) return std::nullopt;
  // The metadata of entries above the break, the lowest last.
  const std::vector<CheckedOffset> above = MetadataAbove(bytes, at);
  size_t tried = 0;
  for (auto it = above.rbegin(); it != above.rend() && tried < kMaxCandidates;
       ++it, ++tried) {
    auto mend = ProvedMend(bytes, *it, *tail);
    if (mend.has_value() && (at.certain || IsOneBit(bytes, *mend))) return mend;
  }
  // There may be another break between the two. The walk ended either at the
  // entry with the wrong link or at the place to which that link led.
  for (size_t i = 0; i < std::min(above.size(), kMaxAstray); ++i) {
    const CheckedOffset last = above[above.size() - 1 - i];
    if (auto mend = FindFlippedLink(bytes, last)) return mend;
  }
  if (!at.certain) return std::nullopt;
  for (auto it = above.rbegin(); it != above.rend(); ++it) {
    if (Align64(at.tail) < it->value()) {
      return LinkMend(it->value(), at.tail, false);
    }
  }
  return std::nullopt;
}

std::optional<Mend> FindFlippedLink(ByteSource& bytes,
                                    CheckedOffset metadata_offset) {
  const auto metadata = MetadataAt(bytes, metadata_offset);
  if (!metadata.has_value()) return std::nullopt;
  // Entries that end within the same 64 bytes have the same payload behind
  // them, so the checksum alone does not tell which of them it is.
  const auto linked = bytes.Check(metadata->prev_tail);
  if (linked.has_value() &&
      ProvedMend(bytes, metadata_offset, *linked).has_value() &&
      IsWholeEntryEnd(bytes, *linked)) {
    return std::nullopt;
  }
  for (int bit = 0; bit < 64; ++bit) {
    const auto tail = bytes.Check(metadata->prev_tail ^ (uint64_t{1} << bit));
    if (!tail.has_value() || tail->value() >= metadata_offset.value()) continue;
    if (tail->value() != 0 && !IsWholeEntryEnd(bytes, *tail)) continue;
    if (auto mend = ProvedMend(bytes, metadata_offset, *tail)) return mend;
  }
  return std::nullopt;
}

}  // namespace varve
