// KernelReferences: counts the kernel's references to each inode. Inode numbers
// are drawn in ascending order, so the counts lie in pages of neighbours. A
// page takes 4 bytes per inode, and exists while one of its counts is not 0.
//
// Thread-safe.

#ifndef VARVE_FS_VOLUME_KERNEL_REFERENCES_H_
#define VARVE_FS_VOLUME_KERNEL_REFERENCES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace varve::fs {

class KernelReferences {
 public:
  void Add(uint64_t ino);
  // Removes `count` references, or all if there are fewer. Returns whether that
  // removed the last reference.
  bool Remove(uint64_t ino, uint64_t count);
  uint32_t CountOf(uint64_t ino) const;

 private:
  static constexpr uint64_t kInodesPerPage = 256;
  static constexpr size_t kShards = 16;

  struct Page {
    uint32_t used = 0;  // number of counts that are not 0
    std::array<uint32_t, kInodesPerPage> counts{};
  };
  // Neighbouring pages are in different shards.
  struct Shard {
    mutable absl::Mutex mu;
    absl::flat_hash_map<uint64_t, std::unique_ptr<Page>> pages
        ABSL_GUARDED_BY(mu);
  };

  Shard& ShardOf(uint64_t page) { return shards_[page % kShards]; }
  const Shard& ShardOf(uint64_t page) const { return shards_[page % kShards]; }

  std::array<Shard, kShards> shards_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_KERNEL_REFERENCES_H_
