// StoreImpl: walking the chain.

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/base/start_thread.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "engine/index/index_image.h"
#include "engine/io/io_util.h"
#include "engine/store/store_impl.h"

namespace varve {
namespace {

// How many entries to prefetch index slots for at a time.
constexpr size_t kBlock = 64;
// How many entries a worker takes at a time.
constexpr size_t kLot = 4096;
constexpr size_t kVerifyChunk = size_t{256} << 10;
// How many blocks are compared at a time: what has been compared is still in
// the processor's cache when it is served.
constexpr size_t kBlocksAtOnce = kVerifyChunk / kSumBlockSize;

// If the disk has damaged the chain below the base of the index, the base still
// knows the live entries that end at or before `end`.
template <typename Visit>
void VisitBase(const Generation& generation, const Generation::Moment& moment,
               uint64_t end, const Visit& visit) {
  const IndexImage* const base = generation.index().base();
  if (base == nullptr || end > base->location().prev_tail) return;
  std::vector<uint64_t> offsets;
  for (size_t i = 0; i < base->size(); ++i) {
    const IndexedKey key = base->At(i);
    if (base->IsValid(key) && key.metadata_offset + kMetadataSize <= end) {
      offsets.push_back(key.metadata_offset);
    }
  }
  std::sort(offsets.rbegin(), offsets.rend());
  for (const uint64_t offset : offsets) {
    const auto entry = generation.EntryEndingAt(offset + kMetadataSize);
    if (entry.ok() && !entry->is_tombstone() &&
        moment.WasLive(entry->key_hash(), offset) &&
        !visit(entry->location())) {
      return;
    }
  }
}

// Calls `visit` with the location of each live entry, newest first.
template <typename Visit>
void WalkLive(const Generation& generation, const Visit& visit) {
  const Generation::Moment moment(generation);
  uint64_t end = moment.tail();
  const absl::Span<const std::byte> file(generation.mapping()->data(), end);
  std::array<EntryLocation, kBlock> block;
  while (end > 0) {
    size_t count = 0;
    bool broken = false;
    while (end > 0 && count < kBlock) {
      const std::optional<EntryLocation> entry = LocateEntryEndingAt(file, end);
      // The chain has been damaged since it was opened, or below an image.
      // ForEachInChain() reports that.
      broken = !entry.has_value();
      if (broken) break;
      end = entry->prev_tail;
      if (entry->is_tombstone) continue;
      generation.index().Prefetch(entry->key_hash);
      block[count++] = *entry;
    }
    for (size_t i = 0; i < count; ++i) {
      if (moment.WasLive(block[i].key_hash, block[i].metadata_offset()) &&
          !visit(block[i])) {
        return;
      }
    }
    if (broken) return VisitBase(generation, moment, end, visit);
  }
}

// Calls `visit` for the entries with metadata at these offsets.
void VisitEntries(const std::shared_ptr<const Mapping>& pin,
                  absl::Span<const uint64_t> offsets,
                  const std::function<void(const EntryView&)>& visit) {
  const absl::Span<const std::byte> file(pin->data(), pin->length());
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (i + kPrefetchAhead < offsets.size()) {
      __builtin_prefetch(file.data() + offsets[i + kPrefetchAhead]);
    }
    const std::optional<EntryLocation> entry = LocateEntryAt(file, offsets[i]);
    // As in WalkLive().
    if (entry.has_value()) visit(EntryView(pin, *entry));
  }
}

absl::Status Damaged(const EntryLocation& entry, absl::string_view what) {
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrFormat("damaged entry, key hash %016x, payload at [%d, %d): %s",
                      entry.key_hash, entry.payload_offset,
                      entry.metadata_offset(), what));
}

// Reads bytes of an entry. If the file ends before them, they are lost.
absl::Status ReadEntry(File& file, uint64_t offset, absl::Span<std::byte> out) {
  const absl::Status status = ReadExactly(file, offset, out);
  if (!absl::IsOutOfRange(status)) return status;
  return ErrorWithCode(absl::StatusCode::kDataLoss, EIO, status.message());
}

// The range of the payload that some blocks take.
BlockRange RangeOf(const EntryLocation& entry, uint64_t first, uint64_t count) {
  return {.begin = BlockAt(entry.payload_size, first).begin,
          .end = BlockAt(entry.payload_size, first + count - 1).end};
}

// The first of these blocks that does not match its sum; nothing if all do.
// `bytes` are those of the blocks.
std::optional<BlockRange> FindMismatch(const EntryLocation& entry,
                                       uint64_t first,
                                       absl::Span<const uint32_t> sums,
                                       absl::Span<const std::byte> bytes) {
  for (size_t i = 0; i < sums.size(); ++i) {
    const BlockRange range = BlockAt(entry.payload_size, first + i);
    const size_t size = range.end - range.begin;
    if (Crc32(0, bytes.first(size)) != sums[i]) return range;
    bytes.remove_prefix(size);
  }
  return std::nullopt;
}

// Whether the host has the blocks in its memory, and they match there.
bool MatchInMemory(const Mapping& mapping, const EntryLocation& entry,
                   uint64_t first, absl::Span<const uint32_t> sums) {
  const BlockRange range = RangeOf(entry, first, sums.size());
  const uint64_t at = entry.payload_offset + range.begin;
  const size_t size = range.end - range.begin;
  return mapping.MapIfInMemory(at, size) &&
         !FindMismatch(entry, first, sums, {mapping.data() + at, size})
              .has_value();
}

absl::Status ReadAndMatch(File& file, const EntryLocation& entry,
                          uint64_t first, absl::Span<const uint32_t> sums) {
  const BlockRange range = RangeOf(entry, first, sums.size());
  const size_t size = range.end - range.begin;
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(size);
  const absl::Span<std::byte> bytes(buffer.get(), size);
  VARVE_RETURN_IF_ERROR(
      ReadEntry(file, entry.payload_offset + range.begin, bytes));
  const auto mismatch = FindMismatch(entry, first, sums, bytes);
  if (!mismatch.has_value()) return absl::OkStatus();
  return Damaged(entry, absl::StrFormat("bytes [%d, %d) of it do not match "
                                        "their checksum",
                                        mismatch->begin, mismatch->end));
}

}  // namespace

void StoreImpl::ForEach(
    const std::function<bool(const EntryView&)>& visit) const {
  const std::shared_ptr<const Generation> generation = Pin();
  WalkLive(*generation, [&](const EntryLocation& entry) {
    return visit(EntryView(generation->mapping(), entry));
  });
}

void StoreImpl::ForEachParallel(
    const std::function<void(const EntryView&)>& visit) const {
  const std::shared_ptr<const Generation> generation = Pin();
  const std::vector<uint64_t> offsets = generation->LiveOffsets();
  std::atomic<size_t> next{0};
  const auto work = [&] {
    // Each worker has a reference count of its own, which no other thread
    // writes to.
    const auto own = std::make_shared<const std::shared_ptr<const Mapping>>(
        generation->mapping());
    const std::shared_ptr<const Mapping> pin(own, own->get());
    for (size_t i; (i = next.fetch_add(kLot)) < offsets.size();) {
      VisitEntries(pin, absl::MakeSpan(offsets).subspan(i, kLot), visit);
    }
  };
  const size_t lots = offsets.size() / kLot + 1;
  // The first worker is this thread.
  std::vector<std::thread> others(
      std::min<size_t>(lots,
                       std::max(1U, std::thread::hardware_concurrency())) -
      1);
  for (std::thread& other : others) StartThread(other, work);
  work();
  for (std::thread& other : others) {
    if (other.joinable()) other.join();
  }
}

absl::Status StoreImpl::ForEachInChain(
    const std::function<bool(const EntryView&)>& visit) const {
  const std::shared_ptr<const Generation> generation = Pin();
  uint64_t end = generation->tail();
  while (end > 0) {
    const absl::StatusOr<EntryView> entry = generation->EntryEndingAt(end);
    if (!entry.ok()) {
      return Annotate(entry.status(),
                      absl::StrFormat("the chain of %s is broken at offset %d",
                                      path_, end));
    }
    end = entry->location().prev_tail;
    if (!visit(*entry)) break;
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::Verify(const EntryLocation& entry) const {
  const std::shared_ptr<const Generation> generation = Pin();
  const uint64_t tail = generation->tail();
  if (entry.payload_size == 0 || entry.payload_offset >= tail ||
      entry.payload_size > tail - entry.payload_offset || entry.end() > tail) {
    return absl::OutOfRangeError(
        absl::StrFormat("no entry of the store lies at [%d, +%d)",
                        entry.payload_offset, entry.payload_size));
  }
  // Most entries are small, so one call can read the payload and the bytes
  // behind it.
  std::vector<std::byte> buffer(
      std::min<uint64_t>(kVerifyChunk, entry.payload_size + kMetadataSize));
  std::optional<Metadata> metadata;
  uint32_t crc = 0;
  for (uint64_t at = entry.payload_offset; at < entry.metadata_offset();) {
    const auto chunk = absl::MakeSpan(buffer).first(
        std::min<uint64_t>(buffer.size(), entry.end() - at));
    VARVE_RETURN_IF_ERROR(ReadEntry(generation->file(), at, chunk));
    const auto payload = chunk.first(
        std::min<uint64_t>(chunk.size(), entry.metadata_offset() - at));
    crc = Crc32(crc, payload);
    at += payload.size();
    if (chunk.size() == payload.size() + kMetadataSize) {
      metadata = DecodeMetadata(chunk.data() + payload.size());
    }
  }
  if (crc != entry.crc32) {
    return Damaged(entry, "the payload does not match its checksum");
  }
  if (!metadata.has_value()) {
    std::array<std::byte, kMetadataSize> bytes;
    VARVE_RETURN_IF_ERROR(ReadEntry(generation->file(), entry.metadata_offset(),
                                    absl::MakeSpan(bytes)));
    metadata = DecodeMetadata(bytes.data());
  }
  if (metadata->key_hash != entry.key_hash || metadata->crc32 != entry.crc32 ||
      metadata->prev_tail != entry.prev_tail) {
    return Damaged(entry, "the metadata is not what it was");
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::VerifyBlocks(const EntryLocation& entry, uint64_t first,
                                     absl::Span<const uint32_t> sums) const {
  const std::shared_ptr<const Generation> generation = Pin();
  const uint64_t tail = generation->tail();
  const uint64_t count = CountBlocks(entry.payload_size);
  if (first >= count || sums.size() > count - first ||
      entry.payload_offset >= tail ||
      entry.payload_size > tail - entry.payload_offset) {
    return absl::OutOfRangeError(absl::StrFormat(
        "no %d blocks from %d on of an entry lie at [%d, +%d)", sums.size(),
        first, entry.payload_offset, entry.payload_size));
  }
  while (!sums.empty()) {
    const auto some = sums.first(std::min(kBlocksAtOnce, sums.size()));
    if (!MatchInMemory(*generation->mapping(), entry, first, some)) {
      VARVE_RETURN_IF_ERROR(
          ReadAndMatch(generation->file(), entry, first, some));
    }
    first += some.size();
    sums.remove_prefix(some.size());
  }
  return absl::OkStatus();
}

std::optional<BlockSums> StoreImpl::FindBlockSums(
    const EntryLocation& entry, uint64_t sums_key_hash) const {
  if (entry.is_tombstone || entry.payload_size < kMinSummedSize) {
    return std::nullopt;
  }
  const std::shared_ptr<const Generation> generation = Pin();
  const auto open = [&](const absl::StatusOr<EntryView>& sums) {
    if (!sums.ok() || sums->is_tombstone() ||
        sums->key_hash() != sums_key_hash) {
      return std::optional<BlockSums>();
    }
    return BlockSums::Open(sums->payload_text(), entry, *sums);
  };
  const uint64_t end = Align64(entry.end()) +
                       BlockSums::SizeFor(entry.payload_size) + kMetadataSize;
  if (end <= generation->tail()) {
    auto behind = open(generation->EntryEndingAt(end));
    if (behind.has_value()) return behind;
  }
  const std::optional<uint64_t> offset = generation->Find(sums_key_hash);
  if (!offset.has_value()) return std::nullopt;
  return open(generation->ViewOf(sums_key_hash, *offset));
}

uint64_t StoreImpl::EstimateCompactionSavings() const {
  uint64_t needed = 0;
  // Finding the index finds its image.
  Pin()->index();
  const uint64_t image = WithGeneration(
      [](const Generation& current) { return current.newest_image(); });
  ForEach([&](const EntryView& view) {
    if (view.location().metadata_offset() == image) return true;  // not copied
    // Entries begin at multiples of 64. So each takes a multiple of 64, except
    // the last one, which the walk meets first.
    const uint64_t size = view.size() + kMetadataSize;
    needed += needed == 0 ? size : Align64(size);
    return true;
  });
  const uint64_t tail =
      WithGeneration([](const Generation& current) { return current.tail(); });
  return tail > needed ? tail - needed : 0;
}

}  // namespace varve
