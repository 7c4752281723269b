// PinnedSource: reads bytes in the mapping of a store that is being copied, and
// keeps the mapping until they are no longer needed.
//
// Not thread-safe.

#ifndef VARVE_FS_COMPACTION_PINNED_SOURCE_H_
#define VARVE_FS_COMPACTION_PINNED_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/store/store.h"
#include "fs/format/extent.h"

namespace varve::fs {

class PinnedSource {
 public:
  // `store` must outlive this.
  explicit PinnedSource(const Store& store) : store_(store) {}

  // The bytes, which are valid until Release(). Errors: those of Store::View().
  absl::StatusOr<absl::Span<const std::byte>> BytesAt(uint64_t offset,
                                                      uint64_t length);
  // The bytes of an extent that is not a hole, likewise.
  absl::StatusOr<absl::Span<const std::byte>> BytesOf(const Extent& extent) {
    return BytesAt(extent.store_offset, extent.length);
  }
  // Compares the entry of the extent with its checksum, unless that has been
  // done already. DATA_LOSS, naming its offset, if it is damaged: a copy of it
  // would have a valid checksum.
  absl::Status VerifyOnce(const Extent& extent);
  // Ends the validity of all bytes returned so far.
  void Release() { pins_.clear(); }

 private:
  const Store& store_;
  std::vector<std::shared_ptr<const Mapping>> pins_;
  absl::flat_hash_set<uint64_t> verified_;  // payload offsets of entries
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_PINNED_SOURCE_H_
