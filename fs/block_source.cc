#include "fs/block_source.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdlib>

namespace varve::fs {
namespace {

// Has the kernel provide all pages of the memory at once, which is much cheaper
// than one by one. What comes of it makes no other difference.
void Populate([[maybe_unused]] void* memory, [[maybe_unused]] size_t size) {
#ifdef MADV_POPULATE_WRITE
  static_cast<void>(madvise(memory, size, MADV_POPULATE_WRITE));
#endif
}

// Memory at a multiple of its size, a power of two; 0 if there is none.
uintptr_t MapAligned(size_t size) {
  void* const memory = mmap(nullptr, 2 * size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t aligned = (begin + size - 1) / size * size;
  // What cannot be unmapped costs addresses only.
  if (aligned > begin) munmap(memory, aligned - begin);
  munmap(reinterpret_cast<void*>(aligned + size), begin + size - aligned);
  return aligned;
}

}  // namespace

BlockSource::~BlockSource() { assert(block_count_ == 0 && regions_.empty()); }

void BlockSource::AddRegion() {
  const uintptr_t region = MapAligned(kRegionSize);
  if (region == 0) return;
  // A wish only.
  madvise(reinterpret_cast<void*>(region), kRegionSize, MADV_HUGEPAGE);
  regions_.emplace(region, ~FreeBlocks{0});
  with_room_.push_back(region);
}

void BlockSource::RemoveRegion(uintptr_t region) {
  with_room_.erase(std::find(with_room_.begin(), with_room_.end(), region));
  regions_.erase(region);
  munmap(reinterpret_cast<void*>(region), kRegionSize);
}

void* BlockSource::Allocate() {
  ++block_count_;
  if (with_room_.empty() && block_count_ > kEnoughForRegions) AddRegion();
  if (with_room_.empty()) {
    void* block = nullptr;
    if (posix_memalign(&block, kAlignment, kBlockSize) != 0) std::abort();
    // Of the last page, a part is malloc's.
    if (block_count_ > kManyBlocks) Populate(block, kAlignment / 8 * 7);
    return block;
  }
  const uintptr_t region = with_room_.back();
  FreeBlocks& free = regions_.find(region)->second;
  const int number = std::countr_zero(free);
  free &= free - 1;
  if (free == 0) with_room_.pop_back();
  auto* const block = reinterpret_cast<void*>(
      region + static_cast<size_t>(number) * kAlignment);
  Populate(block, kAlignment);
  return block;
}

void BlockSource::Free(void* block) {
  --block_count_;
  const auto address = reinterpret_cast<uintptr_t>(block);
  const uintptr_t region = address / kRegionSize * kRegionSize;
  const auto it = regions_.find(region);
  if (it == regions_.end()) return std::free(block);
  if (it->second == 0) with_room_.push_back(region);
  it->second |= FreeBlocks{1} << (address - region) / kAlignment;
  if (~it->second == 0) return RemoveRegion(region);
  madvise(block, kAlignment, MADV_DONTNEED);
}

}  // namespace varve::fs
