#include "fs/compaction/translation.h"

#include <algorithm>
#include <iterator>

namespace varve::fs {

void Translation::Add(uint64_t old_offset, const Extent& now) {
  const uint64_t end = old_offset + now.length;
  for (uint64_t at = old_offset; at < end;) {
    auto next = places_.upper_bound(at);
    if (next != places_.begin()) {
      const auto before = std::prev(next);
      const uint64_t covered = before->first + before->second.length;
      if (covered > at) {
        at = covered;
        continue;
      }
    }
    const uint64_t stop =
        next == places_.end() ? end : std::min(end, next->first);
    places_.emplace_hint(next, at,
                         now.Part(at - old_offset, stop - at, now.file_offset));
    at = stop;
  }
}

const Extent* Translation::Find(uint64_t old_offset, uint64_t* skip) const {
  auto it = places_.upper_bound(old_offset);
  if (it == places_.begin()) return nullptr;
  --it;
  *skip = old_offset - it->first;
  return *skip < it->second.length ? &it->second : nullptr;
}

std::vector<Extent> Translation::Translate(const Extent& extent,
                                           std::vector<Extent>* unknown) const {
  if (extent.is_hole() || extent.length == 0) return {extent};
  std::vector<Extent> result;
  const uint64_t end = extent.store_offset + extent.length;
  for (uint64_t at = extent.store_offset; at < end;) {
    const uint64_t done = at - extent.store_offset;
    uint64_t skip = 0;
    Extent part;
    if (const Extent* place = Find(at, &skip)) {
      part = place->Part(skip, std::min(end - at, place->length - skip),
                         extent.file_offset + done);
      part.shared = extent.shared;
    } else {
      const auto next = places_.upper_bound(at);
      const uint64_t stop =
          next == places_.end() ? end : std::min(end, next->first);
      part = extent.Slice(extent.file_offset + done,
                          extent.file_offset + done + (stop - at));
      if (unknown != nullptr) unknown->push_back(part);
    }
    at += part.length;
    result.push_back(part);
  }
  return result;
}

}  // namespace varve::fs
