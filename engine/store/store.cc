#include "engine/store/store.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "engine/store/store_impl.h"

namespace varve {
namespace {

// Keys that ReadBatch() looks up together.
constexpr size_t kReadBlock = 32;

std::vector<uint64_t> HashKeys(absl::Span<const absl::string_view> keys) {
  std::vector<uint64_t> hashes;
  hashes.reserve(keys.size());
  for (const absl::string_view key : keys) hashes.push_back(HashKey(key));
  return hashes;
}

}  // namespace

Store::Store(std::unique_ptr<StoreImpl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& path,
                                                   OpenOptions options) {
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<StoreImpl> impl,
                         StoreImpl::Open(path, std::move(options)));
  return absl::WrapUnique(new Store(std::move(impl)));
}

const RecoveryReport& Store::recovery() const { return impl_->recovery(); }
const std::string& Store::path() const { return impl_->path(); }
bool Store::read_only() const { return impl_->read_only(); }

// --- Writing -----------------------------------------------------------------

absl::StatusOr<EntryLocation> Store::Write(
    absl::string_view key, absl::Span<const std::byte> payload) {
  return impl_->Write(HashKey(key), payload);
}

absl::StatusOr<EntryLocation> Store::WriteHashed(
    uint64_t key_hash, absl::Span<const std::byte> payload) {
  return impl_->Write(key_hash, payload);
}

absl::Status Store::WriteBatch(
    absl::Span<const std::pair<absl::string_view, absl::Span<const std::byte>>>
        items) {
  std::vector<BatchItem> hashed;
  hashed.reserve(items.size());
  for (const auto& [key, payload] : items) {
    hashed.push_back({HashKey(key), payload});
  }
  return impl_->WriteBatch(hashed);
}

absl::Status Store::WriteBatchHashed(absl::Span<const BatchItem> items) {
  return impl_->WriteBatch(items);
}

absl::StatusOr<EntryLocation> Store::WriteStream(absl::string_view key,
                                                 std::istream& source) {
  return impl_->WriteFrom(HashKey(key), source);
}

absl::StatusOr<EntryLocation> Store::WriteStreamHashed(uint64_t key_hash,
                                                       std::istream& source) {
  return impl_->WriteFrom(key_hash, source);
}

absl::Status Store::Rename(absl::string_view from, absl::string_view to) {
  return impl_->Rename(HashKey(from), HashKey(to));
}

absl::Status Store::Copy(absl::string_view key, Store& target) {
  return impl_->CopyTo(HashKey(key), *target.impl_, /*remove=*/false);
}

absl::Status Store::Transfer(absl::string_view key, Store& target) {
  return impl_->CopyTo(HashKey(key), *target.impl_, /*remove=*/true);
}

absl::StatusOr<size_t> Store::Delete(absl::string_view key) {
  return impl_->Delete({HashKey(key)});
}

absl::StatusOr<size_t> Store::DeleteHashed(uint64_t key_hash) {
  return impl_->Delete({key_hash});
}

absl::StatusOr<size_t> Store::DeleteBatch(
    absl::Span<const absl::string_view> keys) {
  return impl_->Delete(HashKeys(keys));
}

absl::StatusOr<size_t> Store::DeleteBatchHashed(
    absl::Span<const uint64_t> hashes) {
  return impl_->Delete(hashes);
}

absl::StatusOr<uint64_t> Store::Sync() { return impl_->Sync(); }
uint64_t Store::durable_tail() const { return impl_->durable_tail(); }

// --- Reading -----------------------------------------------------------------

absl::StatusOr<EntryView> Store::Read(absl::string_view key) const {
  return ReadHashed(HashKey(key));
}

absl::StatusOr<EntryView> Store::ReadHashed(uint64_t key_hash) const {
  return impl_->WithGeneration(
      [&](const Generation& generation) -> absl::StatusOr<EntryView> {
        const std::optional<uint64_t> offset = generation.Find(key_hash);
        if (!offset.has_value()) {
          VARVE_RETURN_IF_ERROR(generation.CheckIndexWhole());
          return NoSuchKey(key_hash);
        }
        return generation.ViewOf(key_hash, *offset);
      });
}

std::vector<std::optional<EntryView>> Store::ReadBatch(
    absl::Span<const absl::string_view> keys) const {
  return ReadBatchHashed(HashKeys(keys));
}

std::vector<std::optional<EntryView>> Store::ReadBatchHashed(
    absl::Span<const uint64_t> key_hashes) const {
  const std::shared_ptr<const Generation> generation = impl_->Pin();
  std::vector<uint64_t> offsets(key_hashes.size());
  generation->FindAll(key_hashes, absl::MakeSpan(offsets));

  const std::byte* const data = generation->mapping()->data();
  std::vector<std::optional<EntryView>> views(key_hashes.size());
  for (size_t begin = 0; begin < offsets.size(); begin += kReadBlock) {
    const size_t end = std::min(begin + kReadBlock, offsets.size());
    for (size_t i = begin; i < end; ++i) {
      if (offsets[i] != Index::kDeleted) {
        __builtin_prefetch(data + offsets[i]);
      }
    }
    for (size_t i = begin; i < end; ++i) {
      if (offsets[i] == Index::kDeleted) continue;
      absl::StatusOr<EntryView> view =
          generation->ViewOf(key_hashes[i], offsets[i]);
      if (view.ok()) views[i] = *std::move(view);
    }
  }
  return views;
}

absl::StatusOr<EntryView> Store::ReadLastEntry() const {
  const uint64_t end = tail();
  if (end == 0) return absl::NotFoundError("the store is empty");
  return EntryEndingAt(end);
}

absl::StatusOr<Metadata> Store::ReadMetadata(absl::string_view key) const {
  return ReadMetadataHashed(HashKey(key));
}

absl::StatusOr<Metadata> Store::ReadMetadataHashed(uint64_t key_hash) const {
  VARVE_ASSIGN_OR_RETURN(const EntryView view, ReadHashed(key_hash));
  return Metadata{.key_hash = key_hash,
                  .prev_tail = view.location().prev_tail,
                  .crc32 = view.checksum()};
}

bool Store::Exists(absl::string_view key) const {
  return ExistsHashed(HashKey(key));
}

bool Store::ExistsHashed(uint64_t key_hash) const {
  return FindHashed(key_hash).has_value();
}

std::optional<uint64_t> Store::FindHashed(uint64_t key_hash) const {
  return impl_->WithGeneration(
      [&](const Generation& generation) { return generation.Find(key_hash); });
}

absl::StatusOr<EntryView> Store::EntryEndingAt(uint64_t end) const {
  return impl_->WithGeneration(
      [&](const Generation& generation) -> absl::StatusOr<EntryView> {
        if (end > generation.tail()) {
          return absl::OutOfRangeError(absl::StrFormat(
              "offset %d is beyond the tail of the store", end));
        }
        return generation.EntryEndingAt(end);
      });
}

absl::StatusOr<Store::PinnedBytes> Store::View(uint64_t offset,
                                               uint64_t length) const {
  return impl_->WithGeneration(
      [&](const Generation& generation) -> absl::StatusOr<PinnedBytes> {
        const uint64_t end = generation.written_end();
        if (offset > end || length > end - offset) {
          return absl::OutOfRangeError(absl::StrFormat(
              "[%d, +%d) is beyond the end of the store", offset, length));
        }
        VARVE_RETURN_IF_ERROR(generation.CheckNotLost(offset + length));
        const std::shared_ptr<const Mapping>& pin = generation.mapping();
        return PinnedBytes{pin,
                           {pin->data() + offset, static_cast<size_t>(length)}};
      });
}

absl::Status Store::Verify(const EntryLocation& entry) const {
  return impl_->Verify(entry);
}

size_t Store::size() const {
  return impl_->WithGeneration(
      [](const Generation& generation) { return generation.index().size(); });
}

uint64_t Store::file_size() const {
  return impl_->WithGeneration(
      [](const Generation& generation) { return generation.tail(); });
}

void Store::ForEach(const std::function<bool(const EntryView&)>& visit) const {
  impl_->ForEach(visit);
}

void Store::ForEachParallel(
    const std::function<void(const EntryView&)>& visit) const {
  impl_->ForEachParallel(visit);
}

absl::Status Store::ForEachInChain(
    const std::function<bool(const EntryView&)>& visit) const {
  return impl_->ForEachInChain(visit);
}

// --- Compaction --------------------------------------------------------------

uint64_t Store::EstimateCompactionSavings() const {
  return impl_->EstimateCompactionSavings();
}

absl::Status Store::Compact() { return impl_->Compact(); }

}  // namespace varve
