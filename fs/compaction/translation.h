// Translation: maps offsets in an old store to where the bytes were copied in a
// new one.
//
// Not thread-safe.

#ifndef VARVE_FS_COMPACTION_TRANSLATION_H_
#define VARVE_FS_COMPACTION_TRANSLATION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/io/file.h"
#include "fs/compaction/offset_runs.h"
#include "fs/format/extent.h"

namespace varve::fs {

class Translation {
 public:
  // So many places are in memory: some 12 MiB.
  static constexpr size_t kMostInMemory = size_t{1} << 17;

  // All of it is in memory.
  Translation() = default;
  // Of more places the older ones are in files beside `path`, which have no
  // names (see OffsetRuns).
  Translation(FileSystem* file_system, const std::string& path,
              size_t most_in_memory = kMostInMemory)
      : most_in_memory_(most_in_memory), runs_(OffsetRuns(file_system, path)) {}

  // Everything here may fail with a SystemError of the disk once there is more
  // than is in memory.

  // The bytes [old_offset, old_offset + now.length) have been copied to where
  // `now` says (its file offset means nothing). Of bytes copied twice, the
  // first copy counts.
  absl::Status Add(uint64_t old_offset, const Extent& now);

  // What the extent is in the other store. Parts that have not been copied are
  // left as they are, and listed in `unknown`.
  absl::StatusOr<std::vector<Extent>> Translate(
      const Extent& extent, std::vector<Extent>* unknown) const;

  // How many bytes of the extent have been copied.
  absl::StatusOr<uint64_t> CountCopied(const Extent& extent) const;

 private:
  // What holds the byte, or else what lies behind it next.
  struct Found {
    std::optional<MovedBytes> holder;
    std::optional<uint64_t> next;
  };
  absl::StatusOr<Found> Find(uint64_t old_offset) const;

  size_t most_in_memory_ = 0;
  OffsetRuns::Map places_;  // the newest
  std::optional<OffsetRuns> runs_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_TRANSLATION_H_
