// Slabs: an allocator for many objects of one size, used by Tree (tree.h), the
// model for tests. It takes memory in blocks of 32 KiB. Objects have no
// headers, and objects that are allocated in succession lie side by side. Empty
// blocks are freed.
//
// Thread rules: like a standard container. Freeing an object changes the Slabs
// that it came from.

#ifndef VARVE_FS_TREE_SLABS_H_
#define VARVE_FS_TREE_SLABS_H_

#include <cstddef>
#include <cstdint>

namespace varve::fs {

class Slabs {
 public:
  // The largest size of objects.
  static constexpr size_t kMaxObjectSize = 1024;

  explicit Slabs(size_t object_size);
  // All objects must have been freed.
  ~Slabs();
  Slabs(const Slabs&) = delete;
  Slabs& operator=(const Slabs&) = delete;

  // Allocates memory for one object, aligned to 8 bytes and not initialized.
  // Never null: without memory, the program ends, as with `new`.
  void* Allocate();
  // Frees what Allocate() of any Slabs returned.
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
  // The blocks with room, in no particular order.
  Block* with_room_ = nullptr;
  size_t block_count_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_SLABS_H_
