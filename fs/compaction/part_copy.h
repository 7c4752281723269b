// PartCopy: the entry that a part of another entry gets in a new store.
//
// Not thread-safe.

#ifndef VARVE_FS_COMPACTION_PART_COPY_H_
#define VARVE_FS_COMPACTION_PART_COPY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/types/span.h"
#include "fs/format/extent.h"
#include "fs/format/identity.h"
#include "fs/log/content_key.h"

namespace varve::fs {

class PartCopy {
 public:
  // `bytes` must stay valid; `new_data_id` draws the id for its key.
  PartCopy(const Identity& identity,
           const std::function<uint64_t()>& new_data_id,
           absl::Span<const std::byte> bytes)
      : pieces_{bytes, kNotZero},
        key_hash_(DataKeyFor(identity, new_data_id, HeadOf(pieces_))) {}

  uint64_t key_hash() const { return key_hash_; }
  absl::Span<const absl::Span<const std::byte>> pieces() const {
    return pieces_;
  }
  // Where the part lies in its entry, given where all of it does.
  Extent ExtentIn(Extent entry) const {
    entry.length = pieces_.front().size();
    return entry;
  }

 private:
  // The byte behind keeps the entry from being all zeros.
  static constexpr std::byte kNotZero[] = {std::byte{1}};

  const std::array<absl::Span<const std::byte>, 2> pieces_;
  const uint64_t key_hash_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_PART_COPY_H_
