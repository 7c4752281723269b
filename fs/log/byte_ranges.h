// Ranges of bytes of a store, and sets of bytes that consist of them. Not
// thread-safe.

#ifndef VARVE_FS_LOG_BYTE_RANGES_H_
#define VARVE_FS_LOG_BYTE_RANGES_H_

#include <cstdint>
#include <vector>

namespace varve::fs {

struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Joins ranges that overlap or touch, and puts them in order.
void JoinRanges(std::vector<ByteRange>& ranges);
// How many bytes are in ranges that do not overlap.
uint64_t BytesIn(const std::vector<ByteRange>& ranges);

class ByteRanges {
 public:
  // Adds [begin, end), in any order. Finish() must follow, before anything
  // else.
  void Add(uint64_t begin, uint64_t end) {
    if (begin < end) ranges_.push_back({begin, end});
  }
  void Finish() { JoinRanges(ranges_); }

  // How many bytes there are.
  uint64_t size() const { return BytesIn(ranges_); }
  // Those that `other` does not have, and those that it has, too.
  ByteRanges Without(const ByteRanges& other) const;
  ByteRanges Common(const ByteRanges& other) const;

 private:
  std::vector<ByteRange> ranges_;  // once finished: in order, and apart
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_BYTE_RANGES_H_
