#include "fs/volume/kernel_references.h"

#include <algorithm>

namespace varve::fs {

void KernelReferences::Add(uint64_t ino) {
  const uint64_t number = ino / kInodesPerPage;
  Shard& shard = ShardOf(number);
  absl::MutexLock lock(&shard.mu);
  std::unique_ptr<Page>& page = shard.pages[number];
  if (page == nullptr) page = std::make_unique<Page>();
  if (page->counts[ino % kInodesPerPage]++ == 0) ++page->used;
}

bool KernelReferences::Remove(uint64_t ino, uint64_t count) {
  const uint64_t number = ino / kInodesPerPage;
  Shard& shard = ShardOf(number);
  absl::MutexLock lock(&shard.mu);
  const auto page = shard.pages.find(number);
  if (page == shard.pages.end()) return false;
  uint32_t& there = page->second->counts[ino % kInodesPerPage];
  if (there == 0) return false;
  there -= static_cast<uint32_t>(std::min<uint64_t>(count, there));
  if (there > 0) return false;
  if (--page->second->used == 0) shard.pages.erase(page);
  return true;
}

uint32_t KernelReferences::CountOf(uint64_t ino) const {
  const uint64_t number = ino / kInodesPerPage;
  const Shard& shard = ShardOf(number);
  absl::MutexLock lock(&shard.mu);
  const auto page = shard.pages.find(number);
  return page == shard.pages.end() ? 0
                                   : page->second->counts[ino % kInodesPerPage];
}

}  // namespace varve::fs
