#include "fs/log/used_ranges.h"

#include <algorithm>

#include "engine/base/status.h"

namespace varve::fs {
namespace {

constexpr uint64_t kExtentsBetweenChecks = 4096;

}  // namespace

absl::Status UsedRanges::ForEachPass(
    uint64_t end, size_t most, absl::Span<const ExtentSource* const> trees,
    absl::FunctionRef<absl::Status()> check,
    absl::FunctionRef<void(UsedRanges& used)> add_others,
    absl::FunctionRef<absl::Status(const UsedRanges& used, uint64_t end)>
        visit) {
  while (end > 0) {
    UsedRanges used(end, most);
    add_others(used);
    VARVE_RETURN_IF_ERROR(used.AddTrees(trees, check));
    used.Finish();
    VARVE_RETURN_IF_ERROR(visit(used, end));
    end = used.begin();
  }
  return absl::OkStatus();
}

void UsedRanges::Add(uint64_t begin, uint64_t end) {
  begin = std::max(begin, begin_);
  end = std::min(end, end_);
  if (begin >= end) return;
  // They often come in the order in which they lie.
  if (!ranges_.empty() && ranges_.back().begin <= begin &&
      begin <= ranges_.back().end) {
    ranges_.back().end = std::max(ranges_.back().end, end);
    return;
  }
  if (ranges_.size() < most_) {
    if (ranges_.empty()) ranges_.reserve(std::min<size_t>(most_, 64));
    ranges_.push_back({begin, end});
    return;
  }
  JoinRanges(ranges_);
  const size_t most_kept = most_ / 2;
  if (ranges_.size() > most_kept) {
    ranges_.erase(ranges_.begin(),
                  ranges_.end() - static_cast<ptrdiff_t>(most_kept));
    begin_ = ranges_.front().begin;
  }
  Add(begin, end);
}

absl::Status UsedRanges::AddTrees(absl::Span<const ExtentSource* const> trees,
                                  absl::FunctionRef<absl::Status()> check) {
  for (const ExtentSource* tree : trees) {
    uint64_t count = 0;
    absl::Status status;
    VARVE_RETURN_IF_ERROR(tree->ForEachExtent([&](const Extent& extent) {
      Add(extent);
      if (++count % kExtentsBetweenChecks == 0) status = check();
      return status.ok();
    }));
    VARVE_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

bool UsedRanges::Contains(const EntryLocation& entry) const {
  // The first that ends behind the payload's beginning.
  const auto it = std::partition_point(
      ranges_.begin(), ranges_.end(), [&entry](const ByteRange& range) {
        return range.end <= entry.payload_offset;
      });
  return it != ranges_.end() && it->begin < entry.metadata_offset();
}

}  // namespace varve::fs
