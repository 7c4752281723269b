#include "fs/log/byte_ranges.h"

#include <algorithm>
#include <cstddef>

namespace varve::fs {

void JoinRanges(std::vector<ByteRange>& ranges) {
  std::sort(
      ranges.begin(), ranges.end(),
      [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
  size_t count = 0;
  for (const ByteRange& range : ranges) {
    if (count > 0 && range.begin <= ranges[count - 1].end) {
      ByteRange& before = ranges[count - 1];
      before.end = std::max(before.end, range.end);
    } else {
      ranges[count++] = range;
    }
  }
  ranges.resize(count);
}

uint64_t BytesIn(const std::vector<ByteRange>& ranges) {
  uint64_t bytes = 0;
  for (const ByteRange& range : ranges) bytes += range.end - range.begin;
  return bytes;
}

ByteRanges ByteRanges::Without(const ByteRanges& other) const {
  ByteRanges rest;
  size_t next = 0;
  for (ByteRange range : ranges_) {
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
