// Nodes: the pages of the copy-on-write B+ tree, as they lie in the store. A
// node is read in place, without decoding it into another form.
//
// A node is a sorted list of items, each a key and a value. In a leaf (level 0)
// these are the items of the tree. In an inner node, the value is the encoded
// pointer to a child, and the key separates the child from the one before: it
// is not above any key in the child, and above all keys before the child.
//
//   u8  level            0 for a leaf, else one more than that of its children
//   u8  flags            bit 0: delta
//   u16 count            of items
//   u16 prefix size      bytes that all keys begin with: as many as there are
//   u16 base size        of a delta: bytes of the pointer to its base; else 0
//       base             the pointer
//       prefix
//   u16 slots[count]     where each item begins, from the start of the node
//       items            without gaps, in the order of their keys, up to the
//       end
//
//   item: u16 size of the rest of the key, and in bit 15 whether it is erased
//         u16 size of the value
//         rest of the key, value
//
// A **delta** is a leaf that holds only the changes to another leaf, its base:
// its items replace or erase those of the base. So a small change does not need
// a whole new leaf. The base may itself be a delta; see kMaxRuns.
//
// The same items give the same bytes, so that equal nodes have equal checksums.
//
// Thread-safe: views are immutable.

#ifndef VARVE_FS_BTREE_NODE_H_
#define VARVE_FS_BTREE_NODE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace varve::fs {

// The size up to which nodes are filled, in bytes. With larger nodes, changes
// cost more; with smaller ones, the tree is higher.
inline constexpr size_t kNodeTarget = 4096;
// Limits of an item, so that offsets in a node with several items fit in 16
// bits.
inline constexpr size_t kMaxKeySize = 1024;
inline constexpr size_t kMaxValueSize = 8192;
inline constexpr int kMaxLevel = 15;
// The most runs of a leaf, that is, the leaf and the deltas over it. A lookup
// looks into each run.
inline constexpr size_t kMaxRuns = 12;

// Where a node lies, and its checksum. Nodes lie in segments, and each segment
// is an entry of the store. A pointer does not say where the entry lies, so
// that it stays valid when another program moves entries.
struct NodePointer {
  uint32_t segment = 0;   // the number of the segment
  uint32_t offset = 0;    // of the first byte, in the segment's nodes
  uint32_t size = 0;      // bytes
  uint64_t checksum = 0;  // XXH3-64 of the node

  // Segment and offset as one number.
  uint64_t place() const { return uint64_t{segment} << 32 | offset; }

  friend bool operator==(const NodePointer&, const NodePointer&) = default;
};

// How messages name the node.
std::string DescribeNode(const NodePointer& pointer);

// Appends the pointer to `out`: varints, and the checksum as a u64.
void EncodePointer(const NodePointer& pointer, std::string* out);
// DATA_LOSS if the bytes are not exactly one pointer.
absl::StatusOr<NodePointer> DecodePointer(absl::string_view bytes);

// A view of a node, whose bytes the creator of the view must keep. No accessor
// reads outside these bytes, whatever they are.
class NodeView {
 public:
  NodeView() = default;
  // A view of any bytes. Check() tells whether they are a node.
  explicit NodeView(absl::string_view bytes) : bytes_(bytes) {}

  // DATA_LOSS with a reason if the bytes are not a node as described above.
  // Does not follow pointers.
  absl::Status Check() const;

  int level() const { return U8(0); }
  bool is_delta() const { return (U8(1) & kDelta) != 0; }
  size_t count() const { return U16(2); }
  size_t size() const { return bytes_.size(); }
  // The pointer to the base of a delta, encoded.
  absl::string_view base() const { return Slice(kHeaderSize, U16(6)); }
  absl::string_view prefix() const {
    return Slice(kHeaderSize + U16(6), U16(4));
  }
  // The key of an item without the prefix; `index` < count().
  absl::string_view rest(size_t index) const;
  std::string key(size_t index) const;
  // The same, but reuses the memory of `key`.
  void GetKey(size_t index, std::string* key) const;
  absl::string_view value(size_t index) const;
  // Whether this item of a delta erases the base's item with its key.
  bool is_erased(size_t index) const;

  // The index of the first item whose key is not below `key`; count() if there
  // is none.
  size_t LowerBound(absl::string_view key) const;
  // Compares the key of an item with `key`: below 0, 0 or above 0.
  int Compare(size_t index, absl::string_view key) const;

  absl::string_view bytes() const { return bytes_; }

 private:
  friend class NodeBuilder;
  static constexpr size_t kHeaderSize = 8;
  static constexpr size_t kItemHeaderSize = 4;
  static constexpr uint8_t kDelta = 1;
  static constexpr uint16_t kErased = 0x8000;

  uint8_t U8(size_t at) const;
  uint16_t U16(size_t at) const;
  // The part of the range that lies in the node.
  absl::string_view Slice(size_t at, size_t size) const;
  size_t slots() const { return kHeaderSize + U16(6) + U16(4); }
  absl::Status CheckItem(size_t index, size_t begin, size_t* end) const;

  absl::string_view bytes_;
};

// Builds nodes. Not thread-safe.
class NodeBuilder {
 public:
  // Keys must come in strictly ascending order.
  void Add(absl::string_view key, absl::string_view value);
  void AddErased(absl::string_view key);

  size_t count() const { return items_.size(); }
  // The bytes that a node of all items so far would have.
  size_t size() const;
  absl::string_view first_key() const { return items_.front().key; }

  // Builds a node of all items; the builder is empty afterwards. `base` is the
  // encoded pointer of a delta, else empty. There must be an item.
  std::string Build(int level, absl::string_view base = {});
  // Builds a node of the first half of the items, by bytes; the others stay.
  std::string BuildFirstHalf(int level);

 private:
  struct Item {
    std::string key;
    std::string value;
    bool is_erased = false;
  };
  std::string Encode(size_t count, int level, absl::string_view base) const;
  void Append(Item item);

  std::vector<Item> items_;
  size_t item_bytes_ = 0;  // of keys and values
};

// The length of the longest common prefix of two strings, in bytes.
size_t CommonPrefix(absl::string_view a, absl::string_view b);

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_NODE_H_
