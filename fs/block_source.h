// BlockSource: memory in blocks of 32 KiB. The first come from malloc; of many,
// each is a part of a region of 2 MiB for which huge pages are asked, as most
// of what it takes to fill memory is to have it provided page by page.
//
// Thread rules: like a standard container.

#ifndef VARVE_FS_BLOCK_SOURCE_H_
#define VARVE_FS_BLOCK_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace varve::fs {

class BlockSource {
 public:
  // Blocks start at multiples of this.
  static constexpr size_t kAlignment = size_t{32} << 10;
  // A little less, for malloc's own words: then the next block fits right
  // behind.
  static constexpr size_t kBlockSize = kAlignment - 64;

  BlockSource() = default;
  // All blocks must have been freed.
  ~BlockSource();
  BlockSource(const BlockSource&) = delete;
  BlockSource& operator=(const BlockSource&) = delete;

  // A block, not initialized. Never null: the program ends when there is no
  // memory, as with `new`.
  void* Allocate();
  // Takes back what Allocate() gave; the system gets the memory.
  void Free(void* block);

  // Blocks in use.
  size_t block_count() const { return block_count_; }

 private:
  static constexpr size_t kRegionSize = size_t{2} << 20;
  static constexpr size_t kBlocksPerRegion = kRegionSize / kAlignment;
  // From this number of blocks on, there are regions: then what is left of a
  // huge page is at most half of what is used.
  static constexpr size_t kEnoughForRegions = 2 * kBlocksPerRegion;
  // From this number of blocks on, a new one is soon full.
  static constexpr size_t kManyBlocks = 8;

  using FreeBlocks = uint64_t;  // a bit for each block of a region
  static_assert(sizeof(FreeBlocks) * 8 == kBlocksPerRegion);

  // Without memory for a region, nothing: malloc may have some yet.
  void AddRegion();
  void RemoveRegion(uintptr_t region);

  size_t block_count_ = 0;
  // By address.
  absl::flat_hash_map<uintptr_t, FreeBlocks> regions_;
  // Those that have a free block, in no order.
  std::vector<uintptr_t> with_room_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BLOCK_SOURCE_H_
