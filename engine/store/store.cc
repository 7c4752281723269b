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

// Without a message, for which memory would have to be got and given back:
// that takes many times as long as the look-up. The caller knows the key.
absl::Status Absent() { return absl::Status(absl::StatusCode::kNotFound, ""); }

std::vector<uint64_t> HashesOf(absl::Span<const EntryKey> keys) {
  std::vector<uint64_t> hashes;
  hashes.reserve(keys.size());
  for (const EntryKey& key : keys) hashes.push_back(key.hash());
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
    const EntryKey& key, absl::Span<const std::byte> payload) {
  return impl_->Write(key.hash(), payload);
}

absl::Status Store::WriteBatch(absl::Span<const BatchItem> items) {
  return impl_->WriteBatch(items);
}

absl::StatusOr<EntryLocation> Store::WriteStream(const EntryKey& key,
                                                 std::istream& source) {
  return impl_->WriteFrom(key.hash(), source);
}

absl::Status Store::Rename(const EntryKey& from, const EntryKey& to) {
  return impl_->Rename(from.hash(), to.hash());
}

absl::Status Store::Copy(const EntryKey& key, Store& target) {
  return impl_->CopyTo(key.hash(), *target.impl_, /*remove=*/false);
}

absl::Status Store::Transfer(const EntryKey& key, Store& target) {
  return impl_->CopyTo(key.hash(), *target.impl_, /*remove=*/true);
}

absl::StatusOr<size_t> Store::Delete(const EntryKey& key) {
  return impl_->Delete({key.hash()});
}

absl::StatusOr<size_t> Store::DeleteBatch(absl::Span<const EntryKey> keys) {
  return impl_->Delete(HashesOf(keys));
}

absl::StatusOr<uint64_t> Store::Sync() { return impl_->Sync(); }
uint64_t Store::durable_tail() const { return impl_->durable_tail(); }

// --- Reading -----------------------------------------------------------------

absl::StatusOr<EntryView> Store::Read(const EntryKey& key) const {
  const uint64_t key_hash = key.hash();
  return impl_->WithGeneration(
      [&](const Generation& generation) -> absl::StatusOr<EntryView> {
        const std::optional<uint64_t> offset = generation.Find(key_hash);
        if (!offset.has_value()) {
          VARVE_RETURN_IF_ERROR(generation.CheckIndexWhole());
          return Absent();
        }
        return generation.ViewOf(key_hash, *offset);
      });
}

std::vector<std::optional<EntryView>> Store::ReadBatch(
    absl::Span<const EntryKey> keys) const {
  const std::vector<uint64_t> key_hashes = HashesOf(keys);
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

absl::StatusOr<Metadata> Store::ReadMetadata(const EntryKey& key) const {
  VARVE_ASSIGN_OR_RETURN(const EntryView view, Read(key));
  return Metadata{.key_hash = key.hash(),
                  .prev_tail = view.location().prev_tail,
                  .crc32 = view.checksum()};
}

bool Store::Exists(const EntryKey& key) const { return Find(key).has_value(); }

std::optional<uint64_t> Store::Find(const EntryKey& key) const {
  return impl_->WithGeneration([&](const Generation& generation) {
    return generation.Find(key.hash());
  });
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

absl::Status Store::VerifyBlocks(const EntryLocation& entry, uint64_t first,
                                 absl::Span<const uint32_t> sums) const {
  return impl_->VerifyBlocks(entry, first, sums);
}

std::optional<BlockSums> Store::FindBlockSums(const EntryLocation& entry,
                                              uint64_t sums_key_hash) const {
  return impl_->FindBlockSums(entry, sums_key_hash);
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
