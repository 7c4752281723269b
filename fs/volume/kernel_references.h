// KernelReferences: how often the kernel has been told of each inode and not
// yet forgotten it. Numbers of inodes are given out one after the other, so the
// counts of neighbours lie together: 4 bytes for each, once there is one among
// them.
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
  // Takes `count` of them back, or all if there are fewer. Returns whether
  // there were some and none is left.
  bool Remove(uint64_t ino, uint64_t count);
  uint32_t CountOf(uint64_t ino) const;

 private:
  static constexpr uint64_t kInodesPerPage = 256;
  static constexpr size_t kShards = 16;

  struct Page {
    uint32_t used = 0;  // of the counts, those that are not 0
    std::array<uint32_t, kInodesPerPage> counts{};
  };
  // Neighbouring pages are in different ones.
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
