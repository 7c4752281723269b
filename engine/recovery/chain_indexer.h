// ChainIndexer: fills an index with the newest entry of each key, by walking
// the chain from its end down to an image of the index or to the first entry.
// It goes block by block, so that a caller may do other things with the index
// in between.
//
// Not thread-safe.

#ifndef VARVE_ENGINE_RECOVERY_CHAIN_INDEXER_H_
#define VARVE_ENGINE_RECOVERY_CHAIN_INDEXER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "engine/entry/entry.h"
#include "engine/index/index.h"
#include "engine/index/index_image.h"
#include "engine/io/file.h"

namespace varve {

class ChainIndexer {
 public:
  // `mapping` must cover the file up to `tail`, where the chain ends.
  // `image_key` as in OpenOptions::index_image_key.
  ChainIndexer(std::shared_ptr<const Mapping> mapping, uint64_t tail,
               std::optional<uint64_t> image_key)
      : mapping_(std::move(mapping)),
        file_size_(tail),
        tail_(tail),
        image_key_(image_key) {}

  // Locates the next entries. Returns false if there are no more, because the
  // walk has come to its end or to where the chain is broken.
  bool Next();
  // The number of entries that Next() has located, all blocks together.
  uint64_t count() const { return count_; }
  size_t block_size() const { return block_size_; }
  // Prefetches the slots of these entries.
  void Prefetch(const Index& index) const;
  // Adds these entries, as far as their keys are unknown. `index` needs room
  // for block_size() keys. Without Index::ForgetDeleted() at the end, it goes
  // on to remember deleted keys.
  void AddTo(Index& index) const;

  // The image at which the walk ended; null if there was none. What lies below
  // it was not looked at.
  std::unique_ptr<const IndexImage> TakeImage() { return std::move(image_); }
  // The first entry of the chain, once the walk has come to it.
  const std::optional<EntryLocation>& first() const { return first_; }
  bool is_broken() const { return is_broken_; }

 private:
  static constexpr size_t kBlock = 64;

  const std::shared_ptr<const Mapping> mapping_;
  const uint64_t file_size_;
  uint64_t tail_;
  const std::optional<uint64_t> image_key_;
  std::array<EntryLocation, kBlock> block_;
  size_t block_size_ = 0;
  uint64_t count_ = 0;
  std::unique_ptr<const IndexImage> image_;
  std::optional<EntryLocation> first_;
  bool is_broken_ = false;
};

}  // namespace varve

#endif  // VARVE_ENGINE_RECOVERY_CHAIN_INDEXER_H_
