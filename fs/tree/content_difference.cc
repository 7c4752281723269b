#include "fs/tree/content_difference.h"

#include <algorithm>

namespace varve::fs {
namespace {

// Where a walk over a file stands in one list of extents.
class ExtentHead {
 public:
  explicit ExtentHead(absl::Span<const Extent> extents) : extents_(extents) {}

  // Passes over the extents that end at or before `offset`.
  void MoveTo(uint64_t offset) {
    while (!at_end() && extent().file_end() <= offset) {
      extents_.remove_prefix(1);
    }
  }
  bool at_end() const { return extents_.empty(); }
  const Extent& extent() const { return extents_.front(); }
  bool Covers(uint64_t offset) const {
    return !at_end() && extent().file_offset <= offset;
  }
  // Up to where everything from `offset` on is in this extent, or in none.
  uint64_t EndFrom(uint64_t offset) const {
    if (at_end()) return UINT64_MAX;
    return Covers(offset) ? extent().file_end() : extent().file_offset;
  }

 private:
  absl::Span<const Extent> extents_;
};

// Whether both have the same bytes from this file offset on.
bool AreEqual(const Extent& a, const Extent& b, uint64_t offset) {
  return a.entry_crc32 == b.entry_crc32 && a.entry_size == b.entry_size &&
         a.entry_offset + (offset - a.file_offset) ==
             b.entry_offset + (offset - b.file_offset);
}

}  // namespace

ContentDifference CompareExtents(absl::Span<const Extent> before,
                                 absl::Span<const Extent> after) {
  ContentDifference result;
  ExtentHead old_head(before);
  ExtentHead new_head(after);
  uint64_t offset = 0;
  while (!old_head.at_end() || !new_head.at_end()) {
    const uint64_t end =
        std::min(old_head.EndFrom(offset), new_head.EndFrom(offset));
    const bool was_data = old_head.Covers(offset);
    const bool is_data = new_head.Covers(offset);
    const bool is_equal =
        was_data == is_data &&
        (!is_data || AreEqual(old_head.extent(), new_head.extent(), offset));
    if (!is_equal) {
      result.differs = true;
      if (is_data) result.new_bytes += end - offset;
    }
    offset = end;
    old_head.MoveTo(offset);
    new_head.MoveTo(offset);
  }
  return result;
}

}  // namespace varve::fs
