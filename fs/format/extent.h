// Extent: where a range of a file's bytes lies in the store. ExtentMap: all
// extents of one file, in order. A range that no extent covers is a hole and
// reads as zeros.

#ifndef VARVE_FS_FORMAT_EXTENT_H_
#define VARVE_FS_FORMAT_EXTENT_H_

#include <cstdint>
#include <vector>

#include "absl/container/btree_map.h"

namespace varve::fs {

struct Extent {
  // The value of store_offset for a hole.
  static constexpr uint64_t kHole = ~uint64_t{0};

  uint64_t file_offset = 0;
  uint64_t length = 0;
  uint64_t store_offset = 0;  // of the first byte, absolute in the store
  // The entry that holds the bytes: its key hash, the offset of the first byte
  // in its payload, and the size of its payload.
  uint64_t key_hash = 0;
  uint64_t entry_offset = 0;
  uint64_t entry_size = 0;
  // The checksum of that entry, which distinguishes it from others of the same
  // key.
  uint32_t entry_crc32 = 0;
  // The entry belongs to another file, too, which owns its key.
  bool shared = false;

  bool is_hole() const { return store_offset == kHole; }
  uint64_t file_end() const { return file_offset + length; }
  uint64_t payload_offset() const { return store_offset - entry_offset; }
  uint64_t entry_metadata_offset() const {
    return payload_offset() + entry_size;
  }
  // Whether this is all of an entry that belongs to this file alone.
  bool owns_entry() const {
    return !is_hole() && !shared && entry_offset == 0 && length == entry_size;
  }

  // Whether `next` begins where this ends, in the file and in the same entry,
  // so that the two can become one.
  bool IsContinuedBy(const Extent& next) const;

  // An extent of `count` bytes of this one, from byte `skip` on, at offset `at`
  // of a file. This extent must have so many bytes.
  Extent Part(uint64_t skip, uint64_t count, uint64_t at) const;

  // The part of this extent that lies in [begin, end) of the file; the two
  // must overlap.
  Extent Slice(uint64_t begin, uint64_t end) const;

  static Extent Hole(uint64_t file_offset, uint64_t length) {
    return {
        .file_offset = file_offset, .length = length, .store_offset = kHole};
  }

  friend bool operator==(const Extent&, const Extent&) = default;
};

// Not thread-safe.
class ExtentMap {
 public:
  // Replaces the range of `extent` by it; a hole removes what was there. Joins
  // neighbours that continue each other in file and store.
  void Overlay(const Extent& extent);
  // Drops everything from file offset `size` on.
  void Truncate(uint64_t size);
  void Clear() {
    extents_.clear();
    data_bytes_ = 0;
  }

  // By file offset; disjoint, no holes.
  using Map = absl::btree_map<uint64_t, Extent>;
  const Map& extents() const { return extents_; }
  bool empty() const { return extents_.empty(); }
  // The number of bytes that are not in holes.
  uint64_t data_bytes() const { return data_bytes_; }

  // The data and holes, in order, that together cover [begin, end).
  std::vector<Extent> Cover(uint64_t begin, uint64_t end) const;

  // The first offset at or after `offset` that is in data (or in a hole);
  // `size` if there is none below that.
  uint64_t NextData(uint64_t offset, uint64_t size) const;
  uint64_t NextHole(uint64_t offset, uint64_t size) const;

 private:
  // The first extent that ends after `offset`.
  Map::const_iterator FirstEndingAfter(uint64_t offset) const;
  // Joins the extent at `file_offset` with its neighbours where they continue
  // each other.
  void MergeAround(uint64_t file_offset);

  Map extents_;
  uint64_t data_bytes_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_EXTENT_H_
