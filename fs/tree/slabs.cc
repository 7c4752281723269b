#include "fs/tree/slabs.h"

#include <sys/mman.h>

#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define VARVE_FS_SLABS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VARVE_FS_SLABS_ASAN 1
#endif
#endif
#ifdef VARVE_FS_SLABS_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace varve::fs {
namespace {

// Blocks start at multiples of this, so that an object's address tells its
// block.
constexpr size_t kBlockAlignment = size_t{32} << 10;
// A little less, to leave room for malloc's own data: then the next block fits
// directly behind.
constexpr size_t kBlockSize = kBlockAlignment - 64;

// With at least so many blocks, a new one is likely to become full soon.
constexpr size_t kManyBlocks = 8;

// Makes the kernel provide all pages of the block at once, which is much
// cheaper than one by one. A failure does no harm.
void Populate([[maybe_unused]] void* block) {
#ifdef MADV_POPULATE_WRITE
  static_cast<void>(madvise(block, kBlockAlignment, MADV_POPULATE_WRITE));
#endif
}

// Lets the address sanitizer notice uses of freed objects.
void Poison([[maybe_unused]] void* object, [[maybe_unused]] size_t size) {
#ifdef VARVE_FS_SLABS_ASAN
  ASAN_POISON_MEMORY_REGION(object, size);
#endif
}
void Unpoison([[maybe_unused]] void* object, [[maybe_unused]] size_t size) {
#ifdef VARVE_FS_SLABS_ASAN
  ASAN_UNPOISON_MEMORY_REGION(object, size);
#endif
}

}  // namespace

// The beginning of a block; the objects follow.
struct Slabs::Block {
  Slabs* owner;
  Block* previous;  // in the list of blocks with room
  Block* next;
  void* free;       // the first freed object; each begins with the next one
  uint32_t used;    // objects
  uint32_t carved;  // offset behind the last object ever given out

  bool has_room() const {
    return free != nullptr || carved + owner->object_size_ <= kBlockSize;
  }
};

Slabs::Slabs(size_t object_size)
    : object_size_(static_cast<uint32_t>((object_size + 7) / 8 * 8)) {
  assert(object_size > 0 && object_size <= kMaxObjectSize);
}

Slabs::~Slabs() {
  // Take() keeps the last empty block.
  if (with_room_ == nullptr || with_room_->used > 0) return;
  Unpoison(with_room_, kBlockSize);
  std::free(with_room_);
}

Slabs::Block* Slabs::NewBlock() {
  void* memory = nullptr;
  if (posix_memalign(&memory, kBlockAlignment, kBlockSize) != 0) std::abort();
  if (block_count_ >= kManyBlocks) Populate(memory);
  Block* block = new (memory) Block{.owner = this,
                                    .previous = nullptr,
                                    .next = nullptr,
                                    .free = nullptr,
                                    .used = 0,
                                    .carved = sizeof(Block)};
  Poison(block + 1, kBlockSize - sizeof(Block));
  ++block_count_;
  return block;
}

void Slabs::Link(Block* block) {
  block->previous = nullptr;
  block->next = with_room_;
  if (with_room_ != nullptr) with_room_->previous = block;
  with_room_ = block;
}

void Slabs::Unlink(Block* block) {
  if (block->previous != nullptr) {
    block->previous->next = block->next;
  } else {
    with_room_ = block->next;
  }
  if (block->next != nullptr) block->next->previous = block->previous;
}

void* Slabs::Allocate() {
  if (with_room_ == nullptr) Link(NewBlock());
  Block* block = with_room_;
  void* object = block->free;
  if (object != nullptr) {
    Unpoison(object, object_size_);
    std::memcpy(&block->free, object, sizeof(block->free));
  } else {
    object = reinterpret_cast<char*>(block) + block->carved;
    block->carved += object_size_;
    Unpoison(object, object_size_);
  }
  ++block->used;
  if (!block->has_room()) Unlink(block);
  return object;
}

void Slabs::Free(void* object) {
  auto* block = reinterpret_cast<Block*>(reinterpret_cast<uintptr_t>(object) &
                                         ~uintptr_t{kBlockAlignment - 1});
  block->owner->Take(block, object);
}

void Slabs::Take(Block* block, void* object) {
  if (!block->has_room()) Link(block);
  std::memcpy(object, &block->free, sizeof(block->free));
  block->free = object;
  Poison(object, object_size_);
  // Keep one empty block, for callers that allocate and free by turns.
  if (--block->used > 0 || (block->previous == nullptr && !block->next)) return;
  Unlink(block);
  --block_count_;
  Unpoison(block, kBlockSize);
  std::free(block);
}

}  // namespace varve::fs
