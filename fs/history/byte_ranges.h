// ByteRanges: a set of bytes of a store, as ranges. Not thread-safe.

#ifndef VARVE_FS_HISTORY_BYTE_RANGES_H_
#define VARVE_FS_HISTORY_BYTE_RANGES_H_

#include <cstdint>
#include <vector>

namespace varve::fs {

class ByteRanges {
 public:
  // Adds [begin, end), in any order. Finish() must follow, before anything
  // else.
  void Add(uint64_t begin, uint64_t end) {
    if (begin < end) ranges_.push_back({begin, end});
  }
  void Finish();

  // How many bytes there are.
  uint64_t size() const;
  // Those that `other` does not have, and those that it has, too.
  ByteRanges Without(const ByteRanges& other) const;
  ByteRanges Common(const ByteRanges& other) const;

 private:
  struct Range {
    uint64_t begin;
    uint64_t end;
  };

  std::vector<Range> ranges_;  // once finished: in order, and apart
};

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_BYTE_RANGES_H_
