// DirtyContent: what has been written to an open file and is not committed yet,
// laid over the committed content. Its bytes are in memory, or (after a spill)
// in the store, in an entry that no commit names yet.
//
// Not thread-safe; guarded by the lock of the open file.

#ifndef VARVE_FS_CONTENT_DIRTY_CONTENT_H_
#define VARVE_FS_CONTENT_DIRTY_CONTENT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "fs/format/extent.h"

namespace varve::fs {

class DirtyContent {
 public:
  struct Piece {
    enum class Kind {
      kMemory,   // in `bytes`
      kSpilled,  // in the store at `store_offset`, in this file's own stream
      kShared,   // in the committed entry that `extent` names (cloned)
      kHole,
    };
    Kind kind = Kind::kHole;
    uint64_t length = 0;
    std::string bytes = {};
    uint64_t store_offset = 0;
    Extent extent = {};
  };
  using Pieces = absl::btree_map<uint64_t, Piece>;  // by file offset, disjoint

  // Whether anything differs from the committed content.
  bool dirty() const { return dirty_; }
  // The size of the file with the dirty content; meaningful only if dirty().
  uint64_t size() const { return size_; }
  // Below this offset, committed content shows where there is no piece. From it
  // on, the file has zeros there.
  uint64_t base_limit() const { return base_limit_; }
  const Pieces& pieces() const { return pieces_; }
  uint64_t memory_bytes() const { return memory_bytes_; }
  // The memory that pieces in memory take. A small piece takes much more than
  // its bytes.
  uint64_t memory_cost() const {
    return memory_bytes_ + memory_pieces_ * kPieceCost;
  }
  // Bytes of pieces that are not holes.
  uint64_t piece_bytes() const { return piece_bytes_; }

  // Whether the only change is that the file was emptied.
  bool only_emptied() const { return dirty_ && emptied_; }

  // Starts from a committed file of this size, with nothing dirty.
  void Reset(uint64_t committed_size);
  // Makes it dirty without a change of content, because only times change.
  void Touch() { dirty_ = true; }

  void Write(uint64_t offset, absl::string_view bytes);
  void Truncate(uint64_t size);
  // Makes a hole. Does not change the size.
  void Punch(uint64_t offset, uint64_t length);
  // Lays an extent of committed content of any file over this file.
  void Share(const Extent& extent);
  // Notes that the bytes of this range of the file lie in the store now, at
  // `store_offset`. Replaces all pieces in the range, of whatever kind.
  void MarkSpilled(uint64_t offset, uint64_t length, uint64_t store_offset);

  // Where in the store pieces lie, as extents.
  std::vector<Extent> Extents() const;
  // Moves these pieces: `moved` returns where the bytes of such an extent lie
  // now, as extents that cover the same range of the file.
  void MoveExtents(
      const std::function<std::vector<Extent>(const Extent&)>& moved);

  // Whether pieces that are not holes cover the whole file, so that no
  // committed content shows.
  bool CoversWholeFile() const;

  // The piece at an offset and its end. Without one, null and where the next
  // piece begins (UINT64_MAX if there is none).
  struct Gap {
    const Piece* piece = nullptr;
    uint64_t end = 0;
  };
  Gap At(uint64_t offset) const;

  // The parts of pieces, holes too, that lie in [begin, end), in order. Gaps
  // between them are committed content below base_limit(), and zeros from there
  // on. Bytes in memory are views into this object.
  struct Slice {
    Piece::Kind kind;
    uint64_t offset;  // in the file
    uint64_t length;
    absl::string_view bytes;  // kMemory
    uint64_t store_offset;    // kSpilled, kShared
    Extent extent;            // kShared, cut to the range
  };
  std::vector<Slice> Cover(uint64_t begin, uint64_t end) const;

 private:
  // Removes the parts of pieces in [begin, end).
  void Carve(uint64_t begin, uint64_t end);
  void Insert(uint64_t offset, Piece piece);
  // Adds (sign +1) or subtracts (-1) a piece in the counters.
  void Count(const Piece& piece, int sign);
  Pieces::const_iterator FirstEndingAfter(uint64_t offset) const;
  static Piece Cut(const Piece& piece, uint64_t skip, uint64_t length);

  bool dirty_ = false;
  bool emptied_ = false;  // truncated to 0, and no piece since
  uint64_t size_ = 0;
  uint64_t base_limit_ = 0;
  // Memory of a piece besides its bytes: the object, its share of the map, and
  // the allocator's data.
  static constexpr uint64_t kPieceCost = 256;

  uint64_t memory_bytes_ = 0;
  uint64_t memory_pieces_ = 0;
  uint64_t piece_bytes_ = 0;
  Pieces pieces_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_DIRTY_CONTENT_H_
