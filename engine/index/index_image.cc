#include "engine/index/index_image.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "engine/base/endian.h"
#include "engine/base/start_thread.h"
#include "engine/entry/crc32_combine.h"
#include "engine/entry/layout.h"
#include "engine/io/bus_guard.h"

namespace varve {
namespace {

constexpr uint64_t kMagic = 0x3130584449455256;  // "VREIDX01"
constexpr uint64_t kKeySize = sizeof(IndexedKey);
static_assert(kKeySize == 16);

// Offsets in the header.
constexpr size_t kPositionAt = 8;
constexpr size_t kPrevTailAt = 16;
constexpr size_t kCountAt = 24;
constexpr size_t kBeforeAt = 32;

// The number of keys to sum up and then compare, so that they stay in the cache
// between the two.
constexpr size_t kKeysAtOnce = 4096;
// Images with at least so many keys, which is a megabyte, are checked by two
// threads.
constexpr size_t kKeysWorthAThread = size_t{1} << 16;
// How many entries to look for where the image says they are. A few suffice to
// notice that another program has moved entries.
constexpr size_t kSample = 16;

// Hashes are spread evenly unless somebody has chosen them: interpolation then
// needs few steps, and halving ends the search in any case.
constexpr int kInterpolations = 8;
constexpr size_t kShortRange = 8;

}  // namespace

IndexImage::IndexImage(std::shared_ptr<const Mapping> mapping,
                       const EntryLocation& location)
    : mapping_(std::move(mapping)),
      location_(location),
      keys_(mapping_->data() + location.payload_offset + kHeaderSize),
      count_((location.payload_size - kHeaderSize) / kKeySize) {}

std::unique_ptr<const IndexImage> IndexImage::Load(
    std::shared_ptr<const Mapping> mapping, const EntryLocation& entry) {
  if (entry.is_tombstone || entry.payload_size < kHeaderSize ||
      (entry.payload_size - kHeaderSize) % kKeySize != 0 ||
      entry.end() > mapping->length()) {
    return nullptr;
  }
  auto image = absl::WrapUnique(new IndexImage(std::move(mapping), entry));
  if (!image->HeaderMatches() || !image->KeysAreSound() ||
      !image->SampleIsThere() || image->HasLostBytes()) {
    return nullptr;
  }
  return image;
}

std::string IndexImage::Header(const Mapping& mapping, uint64_t tail,
                               uint64_t count) {
  std::string header(kHeaderSize, '\0');
  auto* const out = reinterpret_cast<std::byte*>(header.data());
  StoreLittle64(kMagic, out);
  StoreLittle64(Align64(tail), out + kPositionAt);
  StoreLittle64(tail, out + kPrevTailAt);
  StoreLittle64(count, out + kCountAt);
  if (tail >= kMetadataSize) {
    std::memcpy(out + kBeforeAt, mapping.data() + tail - kMetadataSize,
                kMetadataSize);
  }
  return header;
}

absl::Span<const std::byte> IndexImage::payload() const {
  return {mapping_->data() + location_.payload_offset,
          static_cast<size_t>(location_.payload_size)};
}

bool IndexImage::HeaderMatches() const {
  const std::string expected = Header(*mapping_, location_.prev_tail, count_);
  return location_.payload_offset == Align64(location_.prev_tail) &&
         std::memcmp(payload().data(), expected.data(), kHeaderSize) == 0;
}

std::optional<uint32_t> IndexImage::SumUp(size_t first, size_t last) const {
  uint32_t crc = 0;
  for (size_t begin = first; begin < last; begin += kKeysAtOnce) {
    const size_t end = std::min(begin + kKeysAtOnce, last);
    crc = Crc32(crc, {keys_ + begin * kKeySize, (end - begin) * kKeySize});
    uint64_t before = begin == 0 ? 0 : At(begin - 1).key_hash;
    bool sound = true;
    for (size_t i = begin; i < end; ++i) {
      const IndexedKey key = At(i);
      sound &= IsValid(key) && (key.key_hash > before || i == 0);
      before = key.key_hash;
    }
    if (!sound) return std::nullopt;
  }
  return crc;
}

bool IndexImage::KeysAreSound() const {
  const size_t half = count_ < kKeysWorthAThread ? count_ : count_ / 2;
  std::optional<uint32_t> upper = 0;
  std::thread helper;
  const auto sum_up = [&] { upper = SumUp(half, count_); };
  if (half < count_ && !StartThread(helper, sum_up)) sum_up();
  const std::optional<uint32_t> lower = SumUp(0, half);
  if (helper.joinable()) helper.join();
  if (!lower.has_value() || !upper.has_value()) return false;
  uint32_t crc = Crc32(0, payload().first(kHeaderSize));
  crc = Crc32Combine(crc, *lower, half * kKeySize);
  crc = Crc32Combine(crc, *upper, (count_ - half) * kKeySize);
  return crc == location_.crc32;
}

bool IndexImage::SampleIsThere() const {
  const absl::Span<const std::byte> below(mapping_->data(),
                                          location_.prev_tail);
  const size_t step = std::max<size_t>(1, count_ / kSample);
  for (size_t i = 0; i < count_; i += step) {
    const IndexedKey key = At(i);
    const auto entry = LocateEntryAt(below, key.metadata_offset);
    if (!entry.has_value() || entry->is_tombstone ||
        entry->key_hash != key.key_hash) {
      return false;
    }
  }
  return true;
}

IndexedKey IndexImage::At(size_t position) const {
  const std::byte* const key = keys_ + position * kKeySize;
  return {LoadLittle64(key), LoadLittle64(key + 8)};
}

bool IndexImage::IsValid(const IndexedKey& key) const {
  return key.metadata_offset > 0 && key.metadata_offset < location_.prev_tail &&
         location_.prev_tail - key.metadata_offset >= kMetadataSize;
}

std::optional<uint64_t> IndexImage::Find(uint64_t key_hash) const {
  // The key is in [low, high), and between these two.
  size_t low = 0;
  size_t high = count_;
  uint64_t least = 0;
  uint64_t most = UINT64_MAX;
  for (int step = 0; low < high; ++step) {
    const size_t range = high - low;
    size_t at = low + range / 2;
    if (step < kInterpolations && range > kShortRange && most > least) {
      const double part = static_cast<double>(key_hash - least) /
                          static_cast<double>(most - least);
      at = low + std::min(range - 1, static_cast<size_t>(
                                         part * static_cast<double>(range)));
    }
    const IndexedKey found = At(at);
    if (found.key_hash == key_hash) {
      if (!IsValid(found)) return std::nullopt;
      return found.metadata_offset;
    }
    if (found.key_hash < key_hash) {
      low = at + 1;
      least = found.key_hash;
    } else {
      high = at;
      most = found.key_hash;
    }
  }
  return std::nullopt;
}

void IndexImage::Prefetch(uint64_t key_hash) const {
  const auto at = static_cast<size_t>(
      (static_cast<unsigned __int128>(key_hash) * count_) >> 64);
  __builtin_prefetch(keys_ + at * kKeySize);
}

bool IndexImage::HasLostBytes() const { return varve::HasLostBytes(payload()); }

bool IndexImage::IsIntact() const {
  return HeaderMatches() && KeysAreSound() && !HasLostBytes();
}

}  // namespace varve
