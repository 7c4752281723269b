#include "engine/store/generation.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "engine/index/index_image.h"
#include "engine/io/bus_guard.h"
#include "engine/recovery/chain_indexer.h"

namespace varve {
namespace {

#if defined(__SANITIZE_THREAD__)
#define VARVE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VARVE_THREAD_SANITIZER 1
#endif
#endif

#if defined(VARVE_THREAD_SANITIZER)
// The thread sanitizer keeps shadow memory for every mapped byte.
constexpr uint64_t kAddressSpace = uint64_t{1} << 28;
#else
constexpr uint64_t kAddressSpace = uint64_t{1} << 43;  // 8 TiB
#endif

constexpr uint64_t kPageSize = 4096;
constexpr int kOptimisticAttempts = 8;

constexpr uint64_t RoundUpToPage(uint64_t length) {
  return std::max(kPageSize, (length + kPageSize - 1) & ~(kPageSize - 1));
}

absl::StatusOr<std::shared_ptr<const Mapping>> MapAtLeast(File& file,
                                                          uint64_t needed,
                                                          uint64_t wanted) {
  needed = RoundUpToPage(needed);
  for (uint64_t length = std::max(needed, wanted);; length /= 2) {
    length = std::max(length, needed);
    absl::StatusOr<std::unique_ptr<Mapping>> mapping = file.Map(length);
    if (mapping.ok()) {
      return std::shared_ptr<const Mapping>(*std::move(mapping));
    }
    if (length == needed) return mapping.status();
  }
}

absl::Status NoEntryHere(uint64_t key_hash, uint64_t metadata_offset) {
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrFormat("damaged metadata at offset %d: not that of key hash "
                      "%016x",
                      metadata_offset, key_hash));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Mapping>> MapGenerously(File& file,
                                                             uint64_t needed) {
  return MapAtLeast(file, needed, kAddressSpace);
}

Generation::Generation(std::unique_ptr<File> file,
                       std::shared_ptr<const Mapping> mapping)
    : file_(std::move(file)) {
  mappings_.push_back(
      std::make_unique<std::shared_ptr<const Mapping>>(std::move(mapping)));
  mapping_.store(mappings_.back().get(), std::memory_order_release);
}

void Generation::NoteLostFrom(uint64_t offset) const {
  uint64_t known = lost_from();
  while (offset < known && !lost_from_.compare_exchange_weak(known, offset)) {
  }
}

absl::Status Generation::CheckNotLost(uint64_t end) const {
  const uint64_t lost = lost_from();
  if (ABSL_PREDICT_TRUE(end <= lost)) return absl::OkStatus();
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrFormat("somebody else has cut off what lay at offset %d and "
                      "behind it",
                      lost));
}

void Generation::BuildIndex() const {
  absl::MutexLock build_lock(&build_mutex_);
  if (has_index()) return;
  uint64_t tail = 0;
  {
    // From here on Publish() keeps the index.
    absl::MutexLock lock(&publish_mutex_);
    is_building_ = true;
    index_.RememberDeleted();
    tail = this->tail();
  }
  ChainIndexer indexer(mapping(), tail, image_key_);
  index_status_ = FillIndex(indexer);
  absl::MutexLock lock(&publish_mutex_);
  is_building_ = false;
  const uint64_t since = indexer.count() + changes_since_image();
  uint64_t image_offset = 0;
  if (auto image = indexer.TakeImage()) {
    image_offset = image->location().metadata_offset();
    index_.SetBase(std::move(image));
  }
  index_.ForgetDeleted();
  newest_image_.store(image_offset, std::memory_order_relaxed);
  changes_since_image_.store(since, std::memory_order_relaxed);
  has_index_.store(true, std::memory_order_release);
}

absl::Status Generation::FillIndex(ChainIndexer& indexer) const {
  while (indexer.Next()) {
    absl::MutexLock lock(&publish_mutex_);
    indexer.Prefetch(index_);
    VARVE_RETURN_IF_ERROR(index_.Reserve(indexer.block_size() + reserved_));
    indexer.AddTo(index_);
  }
  if (!indexer.is_broken()) return absl::OkStatus();
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      "the chain of entries is broken, so keys may only seem to be absent");
}

absl::Status Generation::Reserve(size_t updates) {
  absl::MutexLock lock(&publish_mutex_);
  // Also if the index is deferred: filling it may begin before Publish().
  VARVE_RETURN_IF_ERROR(index_.Reserve(updates));
  reserved_ = updates;
  return absl::OkStatus();
}

absl::Status Generation::CheckIndexWhole() const {
  // Nothing has been asked.
  if (!has_index()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(index_status_);
  const IndexImage* const base = index_.base();
  if (base == nullptr) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(CheckNotLost(base->location().end()));
  if (!base->HasLostBytes()) return absl::OkStatus();
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrFormat("the index image at offset %d cannot be read any more",
                      base->location().payload_offset));
}

absl::Status Generation::CheckIndexIntact() const {
  if (!has_index()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(CheckIndexWhole());
  const IndexImage* const base = index_.base();
  if (base == nullptr || base->IsIntact()) return absl::OkStatus();
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrFormat("the index image at offset %d is no longer what it was "
                      "when the store was opened; opening it again does "
                      "without that image",
                      base->location().payload_offset));
}

absl::StatusOr<EntryView> Generation::ViewOf(uint64_t key_hash,
                                             uint64_t metadata_offset) const {
  const std::shared_ptr<const Mapping>& pin = mapping();
  const auto in_map = CheckedOffset::In(pin->length(), metadata_offset);
  if (!in_map.has_value() || metadata_offset == 0) {
    return NoEntryHere(key_hash, metadata_offset);
  }
  VARVE_RETURN_IF_ERROR(CheckNotLost(metadata_offset + kMetadataSize));
  // The bounds were valid when the offset entered the index. Check them again,
  // because the page may have been read from a failing disk since.
  const std::byte* const before = pin->data() + metadata_offset - 1;
  const std::optional<EntryLocation> location =
      LocateEntryAt({pin->data(), pin->length()}, metadata_offset);
  if (!location.has_value() || location->key_hash != key_hash ||
      HasLostBytes({before, kTombstoneSize})) {
    return NoEntryHere(key_hash, metadata_offset);
  }
  return EntryView(pin, *location);
}

absl::StatusOr<EntryView> Generation::EntryEndingAt(uint64_t end) const {
  VARVE_RETURN_IF_ERROR(CheckNotLost(end));
  const std::shared_ptr<const Mapping>& pin = mapping();
  const std::optional<EntryLocation> entry =
      LocateEntryEndingAt({pin->data(), static_cast<size_t>(tail())}, end);
  // Metadata of which a part is zeros may still have the shape of an entry.
  if (!entry.has_value() ||
      HasLostBytes({pin->data() + end - kTombstoneSize, kTombstoneSize})) {
    return ErrorWithCode(absl::StatusCode::kDataLoss, EIO,
                         absl::StrFormat("no entry ends at offset %d", end));
  }
  return EntryView(pin, *entry);
}

void Generation::FindAll(absl::Span<const uint64_t> key_hashes,
                         absl::Span<uint64_t> offsets) const {
  if (!has_index()) BuildIndex();
  const auto find = [&] {
    for (const uint64_t key_hash :
         key_hashes.first(std::min(key_hashes.size(), kPrefetchAhead))) {
      index_.Prefetch(key_hash);
    }
    for (size_t i = 0; i < key_hashes.size(); ++i) {
      if (i + kPrefetchAhead < key_hashes.size()) {
        index_.Prefetch(key_hashes[i + kPrefetchAhead]);
      }
      offsets[i] = index_.Find(key_hashes[i]).value_or(Index::kDeleted);
    }
  };
  AtOneMoment(find);
}

std::vector<uint64_t> Generation::LiveOffsets() const {
  std::vector<uint64_t> offsets;
  if (!has_index()) BuildIndex();
  AtOneMoment([&] { offsets = index_.Offsets(); });
  return offsets;
}

template <typename Look>
void Generation::AtOneMoment(const Look& look) const {
  for (int attempt = 0; attempt < kOptimisticAttempts; ++attempt) {
    const uint64_t before = version_.load(std::memory_order_acquire);
    if (before % 2 != 0) continue;
    look();
    // All loads of look() acquire, so this one cannot move before them.
    if (version_.load(std::memory_order_acquire) == before) return;
  }
  absl::MutexLock lock(&publish_mutex_);
  look();
}

absl::Status Generation::EnsureMapped(uint64_t end) {
  const uint64_t length = mapping()->length();
  if (end <= length) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(std::shared_ptr<const Mapping> larger,
                         MapAtLeast(*file_, end, 2 * length));
  mappings_.push_back(
      std::make_unique<std::shared_ptr<const Mapping>>(std::move(larger)));
  mapping_.store(mappings_.back().get(), std::memory_order_release);
  return absl::OkStatus();
}

void Generation::Publish(absl::Span<const IndexUpdate> updates, uint64_t tail) {
  absl::MutexLock lock(&publish_mutex_);
  const uint64_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  reserved_ = 0;
  if (has_index() || is_building_) {
    for (size_t i = 0; i < updates.size(); ++i) {
      // The first ones have been prefetched, see StoreImpl::WriteBytes().
      if (i + kPrefetchAhead < updates.size()) {
        index_.Prefetch(updates[i + kPrefetchAhead].key_hash);
      }
      Apply(updates[i]);
    }
  }
  changes_since_image_.fetch_add(updates.size(), std::memory_order_relaxed);
  tail_.store(tail, std::memory_order_release);
  version_.store(version + 2, std::memory_order_release);
}

void Generation::Apply(const IndexUpdate& update) {
  for (Moment* moment : moments_) {
    const uint64_t before =
        index_.Find(update.key_hash).value_or(Index::kDeleted);
    absl::MutexLock lock(&moment->mutex_);
    moment->replaced_.try_emplace(update.key_hash, before);
    // Set before the index changes, so that a reader that sees the change also
    // sees this.
    moment->has_replaced_.store(true, std::memory_order_release);
  }
  if (update.metadata_offset == Index::kDeleted) {
    index_.Erase(update.key_hash);
  } else {
    index_.Set(update.key_hash, update.metadata_offset);
  }
}

Generation::Moment::Moment(const Generation& generation)
    : generation_(generation) {
  if (!generation.has_index()) generation.BuildIndex();
  absl::MutexLock lock(&generation_.publish_mutex_);
  tail_ = generation_.tail();
  generation_.moments_.push_back(this);
}

Generation::Moment::~Moment() {
  absl::MutexLock lock(&generation_.publish_mutex_);
  auto& moments = generation_.moments_;
  moments.erase(std::find(moments.begin(), moments.end(), this));
}

bool Generation::Moment::WasLive(uint64_t key_hash,
                                 uint64_t metadata_offset) const {
  // An entry from before the moment that is the newest of its key now was the
  // newest then, too.
  if (generation_.Find(key_hash) == metadata_offset) return true;
  if (!has_replaced_.load(std::memory_order_acquire)) return false;
  absl::MutexLock lock(&mutex_);
  const auto found = replaced_.find(key_hash);
  return found != replaced_.end() && found->second == metadata_offset;
}

}  // namespace varve
