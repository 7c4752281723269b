#include "fs/content/dirty_content.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace varve::fs {
namespace {

// Sequential writes are joined to pieces of up to this size.
constexpr uint64_t kMaxMemoryPiece = uint64_t{8} << 20;

}  // namespace

void DirtyContent::Reset(uint64_t committed_size) {
  dirty_ = false;
  emptied_ = false;
  size_ = committed_size;
  base_limit_ = committed_size;
  memory_bytes_ = 0;
  memory_pieces_ = 0;
  piece_bytes_ = 0;
  pieces_.clear();
}

DirtyContent::Pieces::const_iterator DirtyContent::FirstEndingAfter(
    uint64_t offset) const {
  auto it = pieces_.upper_bound(offset);
  if (it != pieces_.begin()) {
    const auto before = std::prev(it);
    if (before->first + before->second.length > offset) it = before;
  }
  return it;
}

DirtyContent::Piece DirtyContent::Cut(const Piece& piece, uint64_t skip,
                                      uint64_t length) {
  Piece result{.kind = piece.kind, .length = length};
  switch (piece.kind) {
    case Piece::Kind::kMemory:
      result.bytes = piece.bytes.substr(skip, length);
      break;
    case Piece::Kind::kSpilled:
      result.store_offset = piece.store_offset + skip;
      break;
    case Piece::Kind::kShared: {
      const uint64_t begin = piece.extent.file_offset + skip;
      result.extent = piece.extent.Slice(begin, begin + length);
      break;
    }
    case Piece::Kind::kHole:
      break;
  }
  return result;
}

void DirtyContent::Insert(uint64_t offset, Piece piece) {
  if (piece.length == 0) return;
  Count(piece, 1);
  emptied_ = false;
  pieces_.emplace(offset, std::move(piece));
}

void DirtyContent::Count(const Piece& piece, int sign) {
  const uint64_t bytes = static_cast<uint64_t>(sign) * piece.length;
  if (piece.kind == Piece::Kind::kMemory) {
    memory_bytes_ += bytes;
    memory_pieces_ += static_cast<uint64_t>(sign);
  }
  if (piece.kind != Piece::Kind::kHole) piece_bytes_ += bytes;
}

void DirtyContent::Carve(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  const auto first = FirstEndingAfter(begin);
  auto last = first;
  Piece left, right;
  uint64_t left_offset = 0;
  for (; last != pieces_.end() && last->first < end; ++last) {
    const uint64_t piece_begin = last->first;
    const Piece& piece = last->second;
    const uint64_t piece_end = piece_begin + piece.length;
    if (piece_begin < begin) {
      left_offset = piece_begin;
      left = Cut(piece, 0, begin - piece_begin);
    }
    if (piece_end > end) right = Cut(piece, end - piece_begin, piece_end - end);
    Count(piece, -1);
  }
  if (first == last) return;
  pieces_.erase(first, last);
  Insert(left_offset, std::move(left));
  Insert(end, std::move(right));
}

void DirtyContent::Write(uint64_t offset, absl::string_view bytes) {
  if (bytes.empty()) return;
  dirty_ = true;
  const uint64_t end = offset + bytes.size();
  size_ = std::max(size_, end);

  // Find the piece in memory that holds, or ends at, the first byte.
  auto it = pieces_.upper_bound(offset);
  if (it != pieces_.begin()) {
    --it;
    Piece& piece = it->second;
    const uint64_t piece_end = it->first + piece.length;
    if (piece.kind == Piece::Kind::kMemory && offset <= piece_end &&
        end - it->first <= kMaxMemoryPiece) {
      const uint64_t inside = std::min(piece_end, end) - offset;
      piece.bytes.replace(offset - it->first, inside, bytes.data(), inside);
      if (end <= piece_end) return;
      const uint64_t key = it->first;
      Carve(piece_end, end);  // may invalidate `it`
      Piece& grown = pieces_.find(key)->second;
      grown.bytes.append(bytes.data() + inside, bytes.size() - inside);
      Count(grown, -1);
      grown.length = grown.bytes.size();
      Count(grown, 1);
      return;
    }
  }
  Carve(offset, end);
  Insert(offset, {.kind = Piece::Kind::kMemory,
                  .length = bytes.size(),
                  .bytes = std::string(bytes.data(), bytes.size())});
}

void DirtyContent::Truncate(uint64_t size) {
  dirty_ = true;
  Carve(size, UINT64_MAX);
  base_limit_ = std::min(base_limit_, size);
  size_ = size;
  emptied_ = size == 0;
}

void DirtyContent::Punch(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  dirty_ = true;
  Carve(offset, offset + length);
  Insert(offset, {.kind = Piece::Kind::kHole, .length = length});
}

void DirtyContent::Share(const Extent& extent) {
  if (extent.length == 0) return;
  dirty_ = true;
  size_ = std::max(size_, extent.file_end());
  Carve(extent.file_offset, extent.file_end());
  Insert(extent.file_offset,
         {.kind = extent.is_hole() ? Piece::Kind::kHole : Piece::Kind::kShared,
          .length = extent.length,
          .store_offset = extent.store_offset,
          .extent = extent});
}

void DirtyContent::MarkSpilled(uint64_t offset, uint64_t length,
                               uint64_t store_offset) {
  if (length == 0) return;
  dirty_ = true;
  size_ = std::max(size_, offset + length);
  Carve(offset, offset + length);
  Insert(offset, {.kind = Piece::Kind::kSpilled,
                  .length = length,
                  .store_offset = store_offset});
}

namespace {

// Where a piece lies in the store, as an extent. For a spilled piece, the
// extent has only offsets and length.
Extent PlaceOf(uint64_t offset, const DirtyContent::Piece& piece) {
  Extent place = piece.kind == DirtyContent::Piece::Kind::kShared
                     ? piece.extent
                     : Extent{.store_offset = piece.store_offset};
  place.file_offset = offset;
  place.length = piece.length;
  return place;
}

bool IsInStore(const DirtyContent::Piece& piece) {
  return piece.kind == DirtyContent::Piece::Kind::kShared ||
         piece.kind == DirtyContent::Piece::Kind::kSpilled;
}

}  // namespace

std::vector<Extent> DirtyContent::Extents() const {
  std::vector<Extent> places;
  for (const auto& [offset, piece] : pieces_) {
    if (IsInStore(piece)) places.push_back(PlaceOf(offset, piece));
  }
  return places;
}

void DirtyContent::MoveExtents(
    const std::function<std::vector<Extent>(const Extent&)>& moved) {
  Pieces old;
  old.swap(pieces_);
  for (auto& [offset, piece] : old) {
    if (!IsInStore(piece)) {
      pieces_.emplace(offset, std::move(piece));
      continue;
    }
    for (const Extent& now : moved(PlaceOf(offset, piece))) {
      Piece part{.kind = piece.kind,
                 .length = now.length,
                 .store_offset = now.store_offset};
      if (piece.kind == Piece::Kind::kShared) part.extent = now;
      pieces_.emplace(now.file_offset, std::move(part));
    }
  }
}

bool DirtyContent::CoversWholeFile() const {
  uint64_t position = 0;
  for (const auto& [offset, piece] : pieces_) {
    if (offset != position || piece.kind == Piece::Kind::kHole) return false;
    position += piece.length;
  }
  return position >= size_;
}

DirtyContent::Gap DirtyContent::At(uint64_t offset) const {
  const auto it = FirstEndingAfter(offset);
  if (it == pieces_.end()) return {.end = UINT64_MAX};
  if (it->first > offset) return {.end = it->first};
  return {.piece = &it->second, .end = it->first + it->second.length};
}

std::vector<DirtyContent::Slice> DirtyContent::Cover(uint64_t begin,
                                                     uint64_t end) const {
  std::vector<Slice> result;
  if (begin >= end) return result;
  for (auto it = FirstEndingAfter(begin);
       it != pieces_.end() && it->first < end; ++it) {
    const Piece& piece = it->second;
    const uint64_t from = std::max(begin, it->first);
    const uint64_t to = std::min(end, it->first + piece.length);
    const uint64_t skip = from - it->first;
    Slice slice{.kind = piece.kind, .offset = from, .length = to - from};
    if (piece.kind == Piece::Kind::kMemory) {
      slice.bytes = absl::string_view(piece.bytes).substr(skip, to - from);
    } else if (piece.kind == Piece::Kind::kShared) {
      slice.extent = piece.extent.Slice(from, to);
      slice.store_offset = slice.extent.store_offset;
    } else if (piece.kind == Piece::Kind::kSpilled) {
      slice.store_offset = piece.store_offset + skip;
    }
    result.push_back(slice);
  }
  return result;
}

}  // namespace varve::fs
