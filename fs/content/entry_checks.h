// EntryChecks: compares what is read with its checksums before it is served,
// once per mount. Of an entry with block sums (engine/entry/block_sums.h), the
// blocks that a read touches are compared; any other is compared as a whole.
//
// What has been compared is remembered in bits, of which there is a bounded
// number: a part of a store that has not been read for long may be forgotten,
// and is compared again.
//
// Thread-safe. Places are those of the store in use: but for CheckLong(), the
// caller keeps entries where they are (Core::relocation_mu).

#ifndef VARVE_FS_CONTENT_ENTRY_CHECKS_H_
#define VARVE_FS_CONTENT_ENTRY_CHECKS_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "engine/store/store.h"
#include "fs/content/verified_entries.h"
#include "fs/log/core.h"

namespace varve::fs {

// Compares the entry that the extent lies in with what the extent says of it
// and, if `checksum`, with its checksum. The failure says in which way they
// differ, and not where: DATA_LOSS; OUT_OF_RANGE where no entry can be.
absl::Status VerifyEntryOf(const Store& store, const Extent& extent,
                           bool checksum);

// Which bytes of a damaged entry do not match their block sums, "; bytes
// [65536, 131072) of it are damaged"; empty if that cannot be told. Reads all
// of it.
std::string DescribeDamage(const Store& store, const Identity& identity,
                           const EntryLocation& entry);
// The same for blocks that are known to be damaged.
std::string DescribeBlocks(uint64_t entry_size,
                           absl::Span<const uint64_t> blocks);

class EntryChecks {
 public:
  // A larger entry without block sums takes so long that nobody may hold a lock
  // meanwhile.
  static constexpr uint64_t kMaxQuickSize = uint64_t{64} << 20;

  explicit EntryChecks(Core& core) : core_(core) {}

  // Whether the bytes of the extent may be served. DATA_LOSS if they are
  // damaged; the failure says how, and not where.
  absl::Status Check(const Extent& extent);
  // The same, but for UNAVAILABLE where CheckLong() has to come first.
  absl::Status CheckIfQuick(const Extent& extent);
  // Compares all of an entry without block sums, one after the other if several
  // threads ask for it. Check() then says whether it is damaged.
  void CheckLong(const Extent& extent)
      ABSL_LOCKS_EXCLUDED(long_mu_, core_.relocation_mu);
  // Compares all of the entry, whether or not that was done before.
  absl::Status CheckWhole(const Extent& extent);

  // Somebody has found the entry to be damaged: from now on reading from it is
  // an error; only from those blocks, if there are some. Returns that error.
  absl::Status NoteDamaged(const Extent& extent,
                           absl::Span<const uint64_t> blocks);

  // Everything lies elsewhere now.
  void Forget();

 private:
  // Compares blocks that the extent touches. UNIMPLEMENTED if the entry has no
  // block sums, or none that are sound.
  absl::Status CheckBlocks(const Extent& extent, const EntryLocation& entry);
  absl::Status CheckEntry(const Extent& extent, bool quick);
  bool IsDamaged(const Extent& extent) const;

  Core& core_;
  VerifiedEntries entries_;
  VerifiedEntries blocks_{kSumBlockSize};
  std::atomic<bool> any_damaged_{false};
  mutable absl::Mutex mu_;
  // Payload offsets of entries that are known to be damaged.
  absl::flat_hash_set<uint64_t> damaged_ ABSL_GUARDED_BY(mu_);
  // Held while a large entry is compared. Nothing is held when it is taken.
  absl::Mutex long_mu_ ABSL_ACQUIRED_BEFORE(core_.relocation_mu);
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_ENTRY_CHECKS_H_
