// Slabs: memory for many objects of one size, taken from blocks of 32 KiB: no
// header per object, and objects made one after the other lie side by side.
// Blocks that have become empty are given back.
//
// Thread rules: like a standard container. Objects may be freed through any
// thread that may change their Slabs.

#ifndef VARVE_FS_TREE_SLABS_H_
#define VARVE_FS_TREE_SLABS_H_

#include <cstddef>
#include <cstdint>

namespace varve::fs {

class Slabs {
 public:
  // Of objects up to this size.
  static constexpr size_t kMaxObjectSize = 1024;

  explicit Slabs(size_t object_size);
  // All objects must have been freed.
  ~Slabs();
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  // Memory for one object, aligned to 8 bytes and not initialized. Never null:
  // the program ends when there is no memory, as with `new`.
  void* Allocate();
  // Takes back what Allocate() of any Slabs gave.
  static void Free(void* object);

  // Blocks in use, for tests.
  size_t block_count() const { return block_count_; }

 private:
  struct Block;

  Block* NewBlock();
  void Link(Block* block);
  void Unlink(Block* block);
  void Take(Block* block, void* object);

  const uint32_t object_size_;
  // Those with room, in no order.
  Block* with_room_ = nullptr;
  size_t block_count_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_SLABS_H_
