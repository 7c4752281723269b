// VerifiedEntries: remembers which entries of the store have been compared with
// their checksums. Its memory is bounded: if necessary, it forgets entries,
// which are then compared again.
//
// Thread-safe.

#ifndef VARVE_FS_CONTENT_VERIFIED_ENTRIES_H_
#define VARVE_FS_CONTENT_VERIFIED_ENTRIES_H_

#include <bitset>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace varve::fs {

class VerifiedEntries {
 public:
  // Enough for 16 GiB of the store.
  static constexpr size_t kMaxPages = size_t{1} << 16;

  explicit VerifiedEntries(size_t max_pages = kMaxPages)
      : max_pages_(max_pages) {}

  // Entries are identified by the offset of their payload.
  bool Contains(uint64_t payload_offset) const;
  void Add(uint64_t payload_offset);
  void Clear();

 private:
  // Payloads are aligned. One that is not is never remembered.
  static constexpr uint64_t kAlignment = 64;
  static constexpr uint64_t kBitsPerPage = 4096;
  using Page = std::bitset<kBitsPerPage>;

  const size_t max_pages_;
  mutable absl::Mutex mu_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Page>> pages_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_VERIFIED_ENTRIES_H_
