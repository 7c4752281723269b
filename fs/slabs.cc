#include "fs/slabs.h"

#include <cassert>
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

constexpr size_t kBlockSize = BlockSource::kBlockSize;

// So that the address sanitizer sees uses of what has been freed.
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

// The beginning of a block, by whose alignment the block of an object is found;
// the objects follow.
struct Slabs::Block {
  Slabs* owner;
  Block* previous;  // in the list of those with room
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
  // The last empty one is kept by Take().
  if (with_room_ == nullptr || with_room_->used > 0) return;
  Unpoison(with_room_, kBlockSize);
  blocks_.Free(with_room_);
}

Slabs::Block* Slabs::NewBlock() {
  Block* block = new (blocks_.Allocate()) Block{.owner = this,
                                                .previous = nullptr,
                                                .next = nullptr,
                                                .free = nullptr,
                                                .used = 0,
                                                .carved = sizeof(Block)};
  Poison(block + 1, kBlockSize - sizeof(Block));
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
  auto* block =
      reinterpret_cast<Block*>(reinterpret_cast<uintptr_t>(object) &
                               ~uintptr_t{BlockSource::kAlignment - 1});
  block->owner->Take(block, object);
}

void Slabs::Take(Block* block, void* object) {
  if (!block->has_room()) Link(block);
  std::memcpy(object, &block->free, sizeof(block->free));
  block->free = object;
  Poison(object, object_size_);
  // One empty block stays, for whoever makes and frees by turns.
  if (--block->used > 0 || (block->previous == nullptr && !block->next)) return;
  Unlink(block);
  Unpoison(block, kBlockSize);
  blocks_.Free(block);
}

}  // namespace varve::fs
