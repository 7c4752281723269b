// StoreImpl: walking the chain.

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/index_image.h"
#include "engine/io_util.h"
#include "engine/layout.h"
#include "engine/status.h"
#include "engine/store_impl.h"

namespace varve {
namespace {

// Entries whose index slots are fetched into the cache together.
constexpr size_t kBlock = 64;
// Entries handed to a worker at a time, and how many such lots may wait.
constexpr size_t kLot = 1024;
constexpr size_t kWaitingLots = 64;
constexpr size_t kVerifyChunk = size_t{256} << 10;

// Where the disk has damaged the chain below the base of the index, that still
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
  const std::byte* const data = generation.mapping()->data();
  std::array<EntryLocation, kBlock> block;
  uint64_t end = moment.tail();
  while (end > 0) {
    size_t count = 0;
    bool broken = false;
    while (end > 0 && count < kBlock) {
      const std::optional<EntryLocation> entry = LocateEntryEndingAt(data, end);
      // Opening has walked here, or has passed over it: ForEachInChain() is the
      // way to find out.
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

// Lots of entries on their way from one thread to several others.
class LotQueue {
 public:
  using Lot = std::vector<EntryLocation>;

  void Push(Lot lot) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](LotQueue* queue) ABSL_EXCLUSIVE_LOCKS_REQUIRED(queue->mutex_) {
          return queue->lots_.size() < kWaitingLots;
        },
        this));
    lots_.push_back(std::move(lot));
  }

  void Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    is_closed_ = true;
  }

  // An empty lot once the queue is closed and drained.
  Lot Pop() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](LotQueue* queue) ABSL_EXCLUSIVE_LOCKS_REQUIRED(queue->mutex_) {
          return !queue->lots_.empty() || queue->is_closed_;
        },
        this));
    if (lots_.empty()) return {};
    Lot lot = std::move(lots_.front());
    lots_.pop_front();
    return lot;
  }

 private:
  absl::Mutex mutex_;
  std::deque<Lot> lots_ ABSL_GUARDED_BY(mutex_);
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::Status Damaged(const EntryLocation& entry, absl::string_view what) {
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrFormat("damaged entry, key hash %016x, payload at [%d, %d): %s",
                      entry.key_hash, entry.payload_offset,
                      entry.metadata_offset(), what));
}

// Reads bytes of an entry: those beyond the end of the file are not there any
// more.
absl::Status ReadEntry(File& file, uint64_t offset, absl::Span<std::byte> out) {
  const absl::Status status = ReadExactly(file, offset, out);
  if (!absl::IsOutOfRange(status)) return status;
  return ErrorWithCode(absl::StatusCode::kDataLoss, EIO, status.message());
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
  LotQueue queue;
  // The chain can be walked by one thread only; what is done with its entries
  // is the larger part.
  const auto work = [&] {
    for (LotQueue::Lot lot = queue.Pop(); !lot.empty(); lot = queue.Pop()) {
      for (const EntryLocation& entry : lot) {
        visit(EntryView(generation->mapping(), entry));
      }
    }
  };
  std::vector<std::thread> workers(
      std::max(1U, std::thread::hardware_concurrency()));
  for (std::thread& worker : workers) worker = std::thread(work);
  LotQueue::Lot lot;
  WalkLive(*generation, [&](const EntryLocation& entry) {
    lot.push_back(entry);
    if (lot.size() == kLot) queue.Push(std::exchange(lot, {}));
    return true;
  });
  if (!lot.empty()) queue.Push(std::move(lot));
  queue.Close();
  for (std::thread& worker : workers) worker.join();
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
  if (entry.payload_size == 0 || entry.payload_offset >= generation->tail() ||
      entry.payload_size > generation->tail() - entry.payload_offset ||
      entry.end() > generation->tail()) {
    return absl::OutOfRangeError(absl::StrFormat(
        "no entry of the store lies at [%d, %d)", entry.payload_offset,
        entry.payload_offset + entry.payload_size));
  }
  std::vector<std::byte> buffer(
      std::min<uint64_t>(kVerifyChunk, entry.payload_size));
  uint32_t crc = 0;
  for (uint64_t at = entry.payload_offset; at < entry.metadata_offset();) {
    const auto chunk = absl::MakeSpan(buffer).first(
        std::min<uint64_t>(buffer.size(), entry.metadata_offset() - at));
    VARVE_RETURN_IF_ERROR(ReadEntry(generation->file(), at, chunk));
    crc = Crc32(crc, chunk);
    at += chunk.size();
  }
  if (crc != entry.crc32) {
    return Damaged(entry, "the payload does not match its checksum");
  }
  std::array<std::byte, kMetadataSize> bytes;
  VARVE_RETURN_IF_ERROR(ReadEntry(generation->file(), entry.metadata_offset(),
                                  absl::MakeSpan(bytes)));
  const Metadata metadata = DecodeMetadata(bytes.data());
  if (metadata.key_hash != entry.key_hash || metadata.crc32 != entry.crc32 ||
      metadata.prev_tail != entry.prev_tail) {
    return Damaged(entry, "the metadata is not what it was");
  }
  return absl::OkStatus();
}

uint64_t StoreImpl::EstimateCompactionSavings() const {
  uint64_t needed = 0;
  const uint64_t image = WithGeneration(
      [](const Generation& current) { return current.newest_image(); });
  ForEach([&](const EntryView& view) {
    if (view.location().metadata_offset() == image) return true;  // not copied
    // An entry begins at a multiple of 64, so that each takes a multiple of 64,
    // but for the last one, which the walk meets first.
    const uint64_t size = view.size() + kMetadataSize;
    needed += needed == 0 ? size : Align64(size);
    return true;
  });
  const uint64_t tail =
      WithGeneration([](const Generation& current) { return current.tail(); });
  return tail > needed ? tail - needed : 0;
}

}  // namespace varve
