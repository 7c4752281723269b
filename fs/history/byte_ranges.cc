#include "fs/history/byte_ranges.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace varve::fs {

void ByteRanges::Finish() {
  std::sort(ranges_.begin(), ranges_.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> merged;
  for (const Range& range : ranges_) {
    if (!merged.empty() && range.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, range.end);
    } else {
      merged.push_back(range);
    }
  }
  ranges_ = std::move(merged);
}

uint64_t ByteRanges::size() const {
  uint64_t size = 0;
  for (const Range& range : ranges_) size += range.end - range.begin;
  return size;
}

ByteRanges ByteRanges::Without(const ByteRanges& other) const {
  ByteRanges rest;
  size_t next = 0;
  for (Range range : ranges_) {
    // A range of the other set may reach into several of this one.
    while (next < other.ranges_.size() &&
           other.ranges_[next].end <= range.begin) {
      ++next;
    }
    for (size_t i = next;
         i < other.ranges_.size() && other.ranges_[i].begin < range.end; ++i) {
      rest.Add(range.begin, other.ranges_[i].begin);
      range.begin = std::min(range.end, other.ranges_[i].end);
    }
    rest.Add(range.begin, range.end);
  }
  return rest;
}

ByteRanges ByteRanges::Common(const ByteRanges& other) const {
  return Without(Without(other));
}

}  // namespace varve::fs
