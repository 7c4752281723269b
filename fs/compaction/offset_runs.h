// OffsetRuns: where bytes lie that have been moved, for as many of them as
// there may be. They are written in sorted runs to files that have no name,
// which are gone with the object; a few bytes for each 64 of them are in
// memory.
//
// Not thread-safe.

#ifndef VARVE_FS_COMPACTION_OFFSET_RUNS_H_
#define VARVE_FS_COMPACTION_OFFSET_RUNS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/io/file.h"
#include "fs/format/extent.h"

namespace varve::fs {

// The bytes [old_offset, old_offset + now.length) of one store lie where `now`
// says in another. Its file offset means nothing.
struct MovedBytes {
  uint64_t old_offset = 0;
  Extent now;

  uint64_t old_end() const { return old_offset + now.length; }
};

class OffsetRuns {
 public:
  // By old offset, disjoint.
  using Map = absl::btree_map<uint64_t, Extent>;

  // Files are made beside `path`, and lose their names at once.
  OffsetRuns(FileSystem* file_system, std::string path)
      : file_system_(file_system), path_(std::move(path)) {}

  // Adds places, of bytes of which none has been added. SystemErrors of the
  // disk; then not all of them may be there.
  absl::Status Add(const Map& places);

  // The last one that begins at or before `offset`, and the first one behind
  // it; nothing if there is none. SystemErrors of the disk.
  absl::StatusOr<std::optional<MovedBytes>> AtOrBefore(uint64_t offset) const;
  absl::StatusOr<std::optional<MovedBytes>> After(uint64_t offset) const;

 private:
  static constexpr size_t kRecordSize = 64;
  static constexpr size_t kBlock = 64;  // records
  // So many runs are made one.
  static constexpr size_t kMostRuns = 8;

  struct Run {
    std::unique_ptr<File> file;
    uint64_t count = 0;
    std::vector<uint64_t> first;  // old offset, of each block
    // The block that was read last.
    mutable std::optional<size_t> block;
    mutable std::vector<MovedBytes> records;

    absl::Status Read(size_t index) const;
    // How many of its records begin at or before `offset`.
    absl::StatusOr<uint64_t> CountUpTo(uint64_t offset) const;
    absl::StatusOr<MovedBytes> At(uint64_t number) const;
  };
  // Writes a run, record by record.
  class Writer;

  absl::StatusOr<std::unique_ptr<File>> MakeFile() const;
  absl::Status Merge();

  FileSystem* const file_system_;
  const std::string path_;
  std::vector<Run> runs_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_OFFSET_RUNS_H_
