// DataIdRanges: a set of data ids, kept as ranges.
//
// Thread rules: like a standard container.

#ifndef VARVE_FS_TREE_DATA_ID_RANGES_H_
#define VARVE_FS_TREE_DATA_ID_RANGES_H_

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

class DataIdRanges {
 public:
  // Adds the ids in [begin, end); none if `end` is not larger.
  void Add(uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    auto it = ends_.upper_bound(begin);
    if (it != ends_.begin() && std::prev(it)->second >= begin) --it;
    while (it != ends_.end() && it->first <= end) {
      begin = std::min(begin, it->first);
      end = std::max(end, it->second);
      it = ends_.erase(it);
    }
    ends_.emplace(begin, end);
  }

  bool Contains(uint64_t id) const { return ContainsAll(id, id + 1); }
  // Whether the set has all ids in [begin, end). `end` must be larger than
  // `begin`.
  bool ContainsAll(uint64_t begin, uint64_t end) const {
    const auto it = ends_.upper_bound(begin);
    return it != ends_.begin() && end <= std::prev(it)->second;
  }

  // Pairs of begin and end, in order; no two touch each other.
  const absl::btree_map<uint64_t, uint64_t>& ranges() const { return ends_; }

 private:
  absl::btree_map<uint64_t, uint64_t> ends_;  // by begin
};

// The ids of data that an unclean stop left without a commit. DATA_LOSS if a
// node of the tree is damaged.
inline absl::StatusOr<DataIdRanges> UnfinishedIds(const TreeReader& tree) {
  DataIdRanges ids;
  const absl::Status status =
      tree.ForEachUnfinished([&ids](uint64_t begin, uint64_t end) {
        ids.Add(begin, end);
        return true;
      });
  if (!status.ok()) return status;
  return ids;
}

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_DATA_ID_RANGES_H_
