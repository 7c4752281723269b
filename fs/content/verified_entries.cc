#include "fs/content/verified_entries.h"

namespace varve::fs {

bool VerifiedEntries::Contains(uint64_t payload_offset) const {
  if (payload_offset % kAlignment != 0) return false;
  const uint64_t bit = payload_offset / kAlignment;
  absl::ReaderMutexLock lock(&mu_);
  const auto page = pages_.find(bit / kBitsPerPage);
  return page != pages_.end() && page->second->test(bit % kBitsPerPage);
}

void VerifiedEntries::Add(uint64_t payload_offset) {
  if (payload_offset % kAlignment != 0) return;
  const uint64_t bit = payload_offset / kAlignment;
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

void VerifiedEntries::Clear() {
  absl::MutexLock lock(&mu_);
  pages_.clear();
}

}  // namespace varve::fs
