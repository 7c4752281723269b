#include "engine/recovery/chain_indexer.h"

#include <utility>

#include "absl/types/span.h"
#include "engine/entry/layout.h"

namespace varve {

bool ChainIndexer::Next() {
  const absl::Span<const std::byte> file(mapping_->data(), file_size_);
  block_size_ = 0;
  if (is_broken_ || image_ != nullptr) return false;
  while (tail_ > 0 && block_size_ < kBlock && image_ == nullptr) {
    const std::optional<EntryLocation> entry = LocateEntryEndingAt(file, tail_);
    if (!entry.has_value()) {
      is_broken_ = true;
      break;
    }
    block_[block_size_++] = *entry;
    tail_ = entry->prev_tail;
    if (tail_ == 0) first_ = entry;
    // Each image is looked at once, so all together cost no more than reading
    // the file.
    if (entry->key_hash == image_key_) {
      image_ = IndexImage::Load(mapping_, *entry);
    }
  }
  count_ += block_size_;
  return block_size_ > 0;
}

void ChainIndexer::Prefetch(const Index& index) const {
  for (size_t i = 0; i < block_size_; ++i) index.Prefetch(block_[i].key_hash);
}

void ChainIndexer::AddTo(Index& index) const {
  for (size_t i = 0; i < block_size_; ++i) {
    index.SetIfUnknown(block_[i].key_hash, block_[i].is_tombstone
                                               ? Index::kDeleted
                                               : block_[i].metadata_offset());
  }
}

}  // namespace varve
