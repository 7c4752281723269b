// VerifiedEntries: remembers which entries of the store, or which blocks of
// entries, have been compared with their checksums. Its memory is bounded: if
// necessary, it forgets some, which are then compared again.
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
  // Enough for 16 GiB of the store, or 16 TiB of blocks.
  static constexpr size_t kMaxPages = size_t{1} << 16;
  // Payloads are aligned to this.
  static constexpr uint64_t kAlignment = 64;

  // `unit`: what is remembered begins at least so many bytes apart, and what
  // begins within the same so many bytes is not told apart.
  explicit VerifiedEntries(uint64_t unit = kAlignment,
                           size_t max_pages = kMaxPages)
      : unit_(unit), max_pages_(max_pages) {}

  // By where it starts in the store; if that is not a multiple of kAlignment,
  // it is never remembered.
  bool Contains(uint64_t offset) const { return ContainsAll(offset, 1); }
  // The same for so many that begin one unit apart.
  bool ContainsAll(uint64_t offset, uint64_t count) const;
  void Add(uint64_t offset);
  void Remove(uint64_t offset);
  void Clear();

 private:
  static constexpr uint64_t kBitsPerPage = 4096;
  using Page = std::bitset<kBitsPerPage>;

  const uint64_t unit_;
  const size_t max_pages_;
  mutable absl::Mutex mu_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Page>> pages_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_VERIFIED_ENTRIES_H_
