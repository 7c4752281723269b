#include "fs/compaction/translation.h"

#include <algorithm>
#include <iterator>

#include "engine/base/status.h"

namespace varve::fs {

absl::StatusOr<Translation::Found> Translation::Find(
    uint64_t old_offset) const {
  const auto behind = places_.upper_bound(old_offset);
  const auto holds = [old_offset](const MovedBytes& moved) {
    return moved.old_end() > old_offset;
  };
  Found found;
  if (behind != places_.begin()) {
    const auto& [at, now] = *std::prev(behind);
    found.holder = {.old_offset = at, .now = now};
    if (holds(*found.holder)) return found;
    found.holder.reset();
  }
  if (behind != places_.end()) found.next = behind->first;
  if (!runs_.has_value()) return found;
  VARVE_ASSIGN_OR_RETURN(const auto before, runs_->AtOrBefore(old_offset));
  if (before.has_value() && holds(*before)) {
    found.holder = before;
    return found;
  }
  VARVE_ASSIGN_OR_RETURN(const auto after, runs_->After(old_offset));
  if (after.has_value() &&
      (!found.next.has_value() || after->old_offset < *found.next)) {
    found.next = after->old_offset;
  }
  return found;
}

absl::Status Translation::Add(uint64_t old_offset, const Extent& now) {
  const uint64_t end = old_offset + now.length;
  for (uint64_t at = old_offset; at < end;) {
    VARVE_ASSIGN_OR_RETURN(const Found found, Find(at));
    if (found.holder.has_value()) {
      at = found.holder->old_end();
      continue;
    }
    const uint64_t stop = std::min(end, found.next.value_or(end));
    places_.emplace(at, now.Part(at - old_offset, stop - at, now.file_offset));
    at = stop;
  }
  if (!runs_.has_value() || places_.size() < most_in_memory_) {
    return absl::OkStatus();
  }
  VARVE_RETURN_IF_ERROR(runs_->Add(places_));
  places_.clear();
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Translation::CountCopied(const Extent& extent) const {
  if (extent.is_hole()) return 0;
  std::vector<Extent> unknown;
  VARVE_RETURN_IF_ERROR(Translate(extent, &unknown).status());
  uint64_t copied = extent.length;
  for (const Extent& part : unknown) copied -= part.length;
  return copied;
}

absl::StatusOr<std::vector<Extent>> Translation::Translate(
    const Extent& extent, std::vector<Extent>* unknown) const {
  std::vector<Extent> result;
  if (extent.is_hole() || extent.length == 0) {
    result.push_back(extent);
    return result;
  }
  const uint64_t end = extent.store_offset + extent.length;
  for (uint64_t at = extent.store_offset; at < end;) {
    const uint64_t file_offset =
        extent.file_offset + (at - extent.store_offset);
    VARVE_ASSIGN_OR_RETURN(const Found found, Find(at));
    Extent part;
    if (found.holder.has_value()) {
      const uint64_t skip = at - found.holder->old_offset;
      const Extent& place = found.holder->now;
      part = place.Part(skip, std::min(end - at, place.length - skip),
                        file_offset);
      part.shared = extent.shared;
    } else {
      const uint64_t stop = std::min(end, found.next.value_or(end));
      part = extent.Slice(file_offset, file_offset + (stop - at));
      if (unknown != nullptr) unknown->push_back(part);
    }
    at += part.length;
    result.push_back(part);
  }
  return result;
}

}  // namespace varve::fs
