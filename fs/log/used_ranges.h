// UsedRanges: which bytes of a store somebody needs, found out in bounded
// memory. There may be more ranges than are to be in memory; so it holds those
// that lie highest, and what lies below is found by going through everything
// once more. ForEachPass() does that.
//
// Not thread-safe.

#ifndef VARVE_FS_LOG_USED_RANGES_H_
#define VARVE_FS_LOG_USED_RANGES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/entry/entry.h"
#include "fs/format/extent.h"
#include "fs/log/byte_ranges.h"

namespace varve::fs {

// A tree, or several, whose extents are in use.
class ExtentSource {
 public:
  virtual ~ExtentSource() = default;
  // Calls `visit` with each extent that is not a hole, until it returns false.
  // DATA_LOSS if a node of a tree is damaged.
  virtual absl::Status ForEachExtent(
      absl::FunctionRef<bool(const Extent&)> visit) const = 0;
};

class UsedRanges {
 public:
  // At most so many are in memory: 32 MiB.
  static constexpr size_t kMost = size_t{1} << 21;

  // Finds out what is in use below `end`, in passes from there down. In each,
  // adds the extents of these trees, asking `check` now and then whether to go
  // on, and has `add_others` add what else is in use. Then calls `visit`, which
  // knows all of what lies in [used.begin(), end). Ends with the first error of
  // `check` or `visit`; DATA_LOSS if a node of a tree is damaged.
  static absl::Status ForEachPass(
      uint64_t end, size_t most, absl::Span<const ExtentSource* const> trees,
      absl::FunctionRef<absl::Status()> check,
      absl::FunctionRef<void(UsedRanges& used)> add_others,
      absl::FunctionRef<absl::Status(const UsedRanges& used, uint64_t end)>
          visit);

  // Of what lies below `end`. `most` is at least 2.
  explicit UsedRanges(uint64_t end, size_t most = kMost)
      : most_(most), end_(end) {}

  void Add(uint64_t begin, uint64_t end);
  void Add(const Extent& extent) {
    Add(extent.store_offset, extent.store_offset + extent.length);
  }
  void Add(const EntryLocation& entry) {
    Add(entry.payload_offset, entry.metadata_offset());
  }
  // Adds all extents of these trees. Asks `check` now and then whether to go
  // on, and returns its error; DATA_LOSS if a node is damaged.
  absl::Status AddTrees(absl::Span<const ExtentSource* const> trees,
                        absl::FunctionRef<absl::Status()> check);
  // To be called once all have been added, and before what follows.
  void Finish() { JoinRanges(ranges_); }

  // Of what lies from here on up to the end, all ranges are here.
  uint64_t begin() const { return begin_; }
  // Whether a part of the entry's payload is in use. The metadata must lie in
  // [begin(), end).
  bool Contains(const EntryLocation& entry) const;
  // The bytes in [begin(), end) that are in use.
  uint64_t bytes() const { return BytesIn(ranges_); }

 private:
  const size_t most_;
  const uint64_t end_;
  uint64_t begin_ = 0;
  std::vector<ByteRange> ranges_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_USED_RANGES_H_
