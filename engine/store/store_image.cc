// Writing an image of the index into the store.

#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/base/status.h"
#include "engine/index/index_image.h"
#include "engine/store/store_impl.h"

namespace varve {

absl::Status Store::WriteIndexImage(uint64_t key_hash) {
  return impl_->WriteIndexImage(key_hash);
}

uint64_t Store::entries_since_image() const {
  return impl_->WithGeneration([](const Generation& generation) {
    return generation.has_index() ? generation.changes_since_image() : 0;
  });
}

bool Store::has_index() const {
  return impl_->WithGeneration(
      [](const Generation& generation) { return generation.has_index(); });
}

void Store::BuildIndex() const { impl_->Pin()->index(); }

std::optional<EntryLocation> Store::index_image_in_use() const {
  return impl_->WithGeneration(
      [](const Generation& generation) -> std::optional<EntryLocation> {
        if (!generation.has_index()) return std::nullopt;
        const IndexImage* const base = generation.index().base();
        if (base == nullptr) return std::nullopt;
        return base->location();
      });
}

absl::Status Store::CheckIndex() const {
  return impl_->Pin()->CheckIndexIntact();
}

absl::Status StoreImpl::WriteIndexImage(uint64_t key_hash) {
  absl::MutexLock lock(&writer_mutex_);
  // Before the image is made, so that it includes the piece.
  PendingAppend seal;
  StartAppend(seal);
  VARVE_RETURN_IF_ERROR(Commit(seal));

  const std::vector<IndexedKey> keys = generation_->index().SortedKeys();
  // A key that is missing from the new image would be gone for good.
  VARVE_RETURN_IF_ERROR(generation_->CheckIndexIntact());
  const std::string header = IndexImage::Header(
      *generation_->mapping(), generation_->tail(), keys.size());
  // In memory they have the form that they have in the file (endian.h).
  const absl::Span<const std::byte> pieces[] = {
      AsBytes(header),
      {reinterpret_cast<const std::byte*>(keys.data()),
       keys.size() * sizeof(IndexedKey)}};
  PendingAppend pending;
  StartAppend(pending);
  const EntryLocation image =
      pending.append.Add(key_hash, pieces, Crc32OfPieces(pieces));
  VARVE_RETURN_IF_ERROR(Commit(pending));
  generation_->NoteImage(image.metadata_offset(), 0);
  return absl::OkStatus();
}

}  // namespace varve
