#include "fs/content/verified_entries.h"

namespace varve::fs {

bool VerifiedEntries::ContainsAll(uint64_t offset, uint64_t count) const {
  if (offset % kAlignment != 0) return false;
  absl::ReaderMutexLock lock(&mu_);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t bit = offset / unit_ + i;
    const auto page = pages_.find(bit / kBitsPerPage);
    if (page == pages_.end() || !page->second->test(bit % kBitsPerPage)) {
      return false;
    }
  }
  return true;
}

void VerifiedEntries::Add(uint64_t offset) {
  if (offset % kAlignment != 0) return;
  const uint64_t bit = offset / unit_;
  absl::MutexLock lock(&mu_);
  std::unique_ptr<Page>& page = pages_[bit / kBitsPerPage];
  if (page == nullptr) {
    page = std::make_unique<Page>();
    // Forget any other page. The first in a hash table is a random one.
    if (pages_.size() > max_pages_) {
      auto victim = pages_.begin();
      if (victim->first == bit / kBitsPerPage) ++victim;
      pages_.erase(victim);
    }
    pages_[bit / kBitsPerPage]->set(bit % kBitsPerPage);
    return;
  }
  page->set(bit % kBitsPerPage);
}

void VerifiedEntries::Remove(uint64_t offset) {
  const uint64_t bit = offset / unit_;
  absl::MutexLock lock(&mu_);
  const auto page = pages_.find(bit / kBitsPerPage);
  if (page != pages_.end()) page->second->reset(bit % kBitsPerPage);
}

void VerifiedEntries::Clear() {
  absl::MutexLock lock(&mu_);
  pages_.clear();
}

}  // namespace varve::fs
