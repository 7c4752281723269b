#include "fs/log/data_id_finder.h"

#include <algorithm>
#include <utility>

namespace varve::fs {
namespace {

// Ids that may be missing from a stretch, or come in another than their order:
// a commit that fails uses some up, and a compaction draws them for its new
// store while the old one goes on. It takes less than a tenth of a second to
// try these.
constexpr uint64_t kSlack = uint64_t{1} << 20;
// The commit that says that a store is in use again comes between the drawing
// of an id and its entry: one record below does not bound the ids.
constexpr int kRecordsBelow = 2;

}  // namespace

void DataIdFinder::SeeRecord(const CommitHeader& header,
                             const EntryLocation& record) {
  if (header.position != record.payload_offset) is_in_order_ = false;
  std::erase_if(open_, [&](Stretch& stretch) {
    if (++stretch.records_below < kRecordsBelow) return false;
    Close(stretch, header.next_data_id);
    return true;
  });
  end_ = std::min(header.next_data_id, next_data_id_);
  is_asked_ = false;
}

void DataIdFinder::Ask(uint64_t key_hash) {
  wanted_.insert(key_hash);
  if (!std::exchange(is_asked_, true)) open_.push_back({.end = end_});
}

void DataIdFinder::Close(const Stretch& stretch, uint64_t begin) {
  const uint64_t end = stretch.end;
  begin = std::clamp<uint64_t>(begin, 1, std::max<uint64_t>(end, 1));
  // Of a stretch without records in between, as a compaction writes it, its
  // newest ids: it has not drawn more.
  begin = std::max(begin, end - std::min(end, kSlack));
  likely_.Add(begin, end);
  possible_.Add(begin - std::min(begin - 1, kSlack),
                end + std::min(next_data_id_ - end, kSlack));
}

void DataIdFinder::Try(const DataIdRanges& ranges) {
  for (auto range = ranges.ranges().rbegin(); range != ranges.ranges().rend();
       ++range) {
    for (uint64_t id = range->second; id > range->first; --id) {
      if (wanted_.empty() || tries_left_ == 0) return;
      --tries_left_;
      const uint64_t key_hash = identity_.DataKeyHash(id - 1);
      if (wanted_.erase(key_hash) > 0) found_.emplace(key_hash, id - 1);
    }
  }
}

absl::flat_hash_map<uint64_t, uint64_t> DataIdFinder::Find() {
  for (const Stretch& stretch : std::exchange(open_, {})) Close(stretch, 1);
  if (wanted_.empty()) return std::move(found_);
  // Another program's compaction has put the entries into an order of its own.
  if (!is_in_order_) possible_.Add(1, next_data_id_);
  Try(likely_);
  Try(possible_);
  return std::move(found_);
}

}  // namespace varve::fs
