#include "fs/format/extent.h"

#include <algorithm>
#include <iterator>

namespace varve::fs {
bool Extent::IsContinuedBy(const Extent& next) const {
  return file_end() == next.file_offset &&
         store_offset + length == next.store_offset &&
         key_hash == next.key_hash &&
         payload_offset() == next.payload_offset() &&
         entry_size == next.entry_size && shared == next.shared;
}

Extent Extent::Part(uint64_t skip, uint64_t count, uint64_t at) const {
  Extent part = *this;
  part.file_offset = at;
  part.length = count;
  if (!is_hole()) {
    part.store_offset += skip;
    part.entry_offset += skip;
  }
  return part;
}

Extent Extent::Slice(uint64_t begin, uint64_t end) const {
  const uint64_t first = std::max(begin, file_offset);
  return Part(first - file_offset, std::min(end, file_end()) - first, first);
}

ExtentMap::Map::const_iterator ExtentMap::FirstEndingAfter(
    uint64_t offset) const {
  auto it = extents_.upper_bound(offset);
  if (it != extents_.begin()) {
    const auto before = std::prev(it);
    if (before->second.file_end() > offset) it = before;
  }
  return it;
}

void ExtentMap::Overlay(const Extent& extent) {
  if (extent.length == 0) return;
  const uint64_t begin = extent.file_offset;
  const uint64_t end = extent.file_end();
  const auto first = FirstEndingAfter(begin);
  auto last = first;  // one past the last extent that overlaps
  Extent left, right;
  while (last != extents_.end() && last->second.file_offset < end) {
    const Extent& old = last->second;
    if (old.file_offset < begin) left = old.Slice(old.file_offset, begin);
    if (old.file_end() > end) right = old.Slice(end, old.file_end());
    data_bytes_ -= old.length;
    ++last;
  }
  extents_.erase(first, last);
  if (left.length > 0) extents_.emplace(left.file_offset, left);
  if (right.length > 0) extents_.emplace(right.file_offset, right);
  data_bytes_ += left.length + right.length;
  if (!extent.is_hole()) {
    data_bytes_ += extent.length;
    extents_.emplace(begin, extent);
    MergeAround(begin);
  }
}

void ExtentMap::MergeAround(uint64_t file_offset) {
  const auto it = extents_.find(file_offset);
  const auto next = std::next(it);
  if (next != extents_.end() && it->second.IsContinuedBy(next->second)) {
    it->second.length += next->second.length;
    extents_.erase(next);
  }
  const auto self = extents_.find(file_offset);  // erase moved the elements
  if (self != extents_.begin()) {
    const auto before = std::prev(self);
    if (before->second.IsContinuedBy(self->second)) {
      before->second.length += self->second.length;
      extents_.erase(self);
    }
  }
}

void ExtentMap::Truncate(uint64_t size) {
  Extent cut;
  const auto first = FirstEndingAfter(size);
  if (first != extents_.end() && first->second.file_offset < size) {
    cut = first->second.Slice(first->second.file_offset, size);
  }
  for (auto it = first; it != extents_.end(); ++it) {
    data_bytes_ -= it->second.length;
  }
  data_bytes_ += cut.length;
  extents_.erase(first, extents_.end());
  if (cut.length > 0) extents_.emplace(cut.file_offset, cut);
}

std::vector<Extent> ExtentMap::Cover(uint64_t begin, uint64_t end) const {
  std::vector<Extent> result;
  if (begin >= end) return result;
  uint64_t position = begin;
  for (auto it = FirstEndingAfter(begin);
       it != extents_.end() && it->second.file_offset < end; ++it) {
    const Extent& extent = it->second;
    if (extent.file_offset > position) {
      result.push_back(Extent::Hole(position, extent.file_offset - position));
    }
    result.push_back(extent.Slice(std::max(position, extent.file_offset), end));
    position = result.back().file_end();
  }
  if (position < end) result.push_back(Extent::Hole(position, end - position));
  return result;
}

uint64_t ExtentMap::NextData(uint64_t offset, uint64_t size) const {
  const auto it = FirstEndingAfter(offset);
  if (it == extents_.end()) return size;
  return std::min(size, std::max(offset, it->second.file_offset));
}

uint64_t ExtentMap::NextHole(uint64_t offset, uint64_t size) const {
  for (auto it = FirstEndingAfter(offset);
       it != extents_.end() && it->second.file_offset <= offset; ++it) {
    offset = it->second.file_end();
  }
  return std::min(size, offset);
}

}  // namespace varve::fs
