// DirtyContent: what has been written to an open file and is not committed yet,
// laid over the content that is. Bytes are in memory, or already in the store
// in an entry that no commit names yet (after a spill).
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
  // Size of the file with all this; meaningful only when dirty.
  uint64_t size() const { return size_; }
  // Committed content shows through where there is no piece, below this offset.
  uint64_t base_limit() const { return base_limit_; }
  const Pieces& pieces() const { return pieces_; }
  uint64_t memory_bytes() const { return memory_bytes_; }
  // What the pieces in memory take there: small ones take much more than they
  // have bytes.
  uint64_t memory_cost() const {
    return memory_bytes_ + memory_pieces_ * kPieceCost;
  }
  // Bytes of pieces that are not holes.
  uint64_t piece_bytes() const { return piece_bytes_; }

  // Whether all that happened is that the file was emptied.
  bool only_emptied() const { return dirty_ && emptied_; }

  // Starts from a committed file of that size, with nothing dirty.
  void Reset(uint64_t committed_size);
  // Makes it dirty without a change of content (its times changed).
  void Touch() { dirty_ = true; }

  void Write(uint64_t offset, absl::string_view bytes);
  void Truncate(uint64_t size);
  // Zeros, and no space taken. Does not change the size.
  void Punch(uint64_t offset, uint64_t length);
  // Lays an extent of some committed content over the file.
  void Share(const Extent& extent);
  // Says that `length` bytes at file offset `offset` are in the store now, at
  // `store_offset`: replaces any pieces in the range, memory or not.
  void MarkSpilled(uint64_t offset, uint64_t length, uint64_t store_offset);

  // The places in the store that pieces lie at, as extents.
  std::vector<Extent> Places() const;
  // Says where the bytes of such a place lie now, as extents that cover the
  // same range of the file.
  void MovePlaces(
      const std::function<std::vector<Extent>(const Extent&)>& moved);

  // Whether pieces without holes make up the whole file, so that nothing of
  // the committed content shows.
  bool CoversWholeFile() const;

  // The piece at an offset, or null if there is none; and where it ends, or the
  // next one begins (UINT64_MAX if there is no other).
  struct Gap {
    const Piece* piece = nullptr;
    uint64_t end = 0;
  };
  Gap At(uint64_t offset) const;

  // Copies of pieces (holes too), in order, for the parts of [begin, end) that
  // are dirty. What is left out is committed content below base_limit(), and
  // zeros from there on. Bytes in memory are given as views into this object.
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
  // Forgets what pieces say about [begin, end).
  void Carve(uint64_t begin, uint64_t end);
  void Insert(uint64_t offset, Piece piece);
  // Counts a piece in (+1) or out (-1).
  void Count(const Piece& piece, int sign);
  Pieces::const_iterator FirstEndingAfter(uint64_t offset) const;
  static Piece Cut(const Piece& piece, uint64_t skip, uint64_t length);

  bool dirty_ = false;
  bool emptied_ = false;  // truncated to nothing, and no piece since
  uint64_t size_ = 0;
  uint64_t base_limit_ = 0;
  // A piece, its place in the map, and what the allocator needs.
  static constexpr uint64_t kPieceCost = 256;

  uint64_t memory_bytes_ = 0;
  uint64_t memory_pieces_ = 0;
  uint64_t piece_bytes_ = 0;
  Pieces pieces_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_DIRTY_CONTENT_H_
