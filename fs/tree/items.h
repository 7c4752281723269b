// Items: the directory tree as keys and values of a B+ tree (fs/btree). Only
// this code knows the bytes of items, which docs/format.md specifies.
//
//   key                                  value
//   inode, kInode                        attributes, first name, content
//   inode, kName, place                  a name in that directory, and its
//   inode inode, kHash, hash of name, place    nothing: finds the place of a
//   name inode, kLink, directory, place       nothing: where else the inode has
//   a name inode, kXattr, name, chunk           a part of the attribute's value
//   inode, kExtent, file offset          where these bytes of the file lie
//   0, kTotals                           counts of what is in the tree
//   0, kUnfinished, first id             the id behind the last of the range
//   0, kSnapshot, name                   the moment that has this name
//   0, kKeptFrom                         from which moment on all are kept
//   0, kPolicy                           how long they are
//   0, kPurge, number, hash of path      a path that moments before that number
//                                        no longer have
//
// Numbers in keys are big-endian, so keys sort in the order of their numbers.
// So all items of an inode lie together, and a directory's names are in the
// order in which they came.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_TREE_ITEMS_H_
#define VARVE_FS_TREE_ITEMS_H_

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/overlay.h"
#include "fs/format/change.h"
#include "fs/format/extent.h"

namespace varve::fs {

enum class ItemKind : uint8_t {
  kInode = 1,
  kName = 2,
  kHash = 3,
  kLink = 4,
  kXattr = 5,
  kExtent = 6,
  // Under inode number 0, which no inode has.
  kTotals = 16,
  kUnfinished = 17,
  kSnapshot = 18,
  kKeptFrom = 19,
  kPolicy = 20,
  kPurge = 21,
};

// Identifies a name by its directory and its place in the directory's order.
// Places begin at 3, because "." and ".." come first in listings. Each new name
// gets a larger place than all before.
struct NamePlace {
  static constexpr uint64_t kFirst = 3;
  static constexpr uint64_t kLimit = uint64_t{1} << 38;

  uint64_t directory = 0;
  uint64_t place = 0;  // 0: there is no such name

  friend auto operator<=>(const NamePlace&, const NamePlace&) = default;
};

// The most names that a file may have, as on ext4.
inline constexpr uint32_t kMaxLinks = 65000;

// The value of an extended attribute is split into items of at most so many
// bytes.
inline constexpr size_t kXattrChunkSize = 2048;

// --- Keys --------------------------------------------------------------------

std::string InodeKey(uint64_t ino);
std::string NameKey(NamePlace name);
// `hash` is the name's hash; see TreeReader::HashOf().
std::string HashKeyPrefix(uint64_t directory, uint64_t hash);
std::string NameHashKey(NamePlace name, uint64_t hash);
std::string LinkKey(uint64_t ino, NamePlace name);
std::string XattrKey(uint64_t ino, absl::string_view name, uint8_t chunk);
std::string ExtentKey(uint64_t ino, uint64_t file_offset);
std::string TotalsKey();
std::string UnfinishedKey(uint64_t begin);
std::string SnapshotKey(absl::string_view name);
std::string KeptFromKey();
std::string PolicyKey();
std::string PurgeKey(uint64_t before, absl::string_view path);
// Puts the items of an extended attribute. The inode must not have it yet.
void PutXattrItems(uint64_t ino, absl::string_view name,
                   absl::string_view value, Overlay* items);
// The prefix of the keys of all items of this kind and inode.
std::string KeyPrefix(uint64_t ino, ItemKind kind);

// The parts of a key. ParseKey() returns DATA_LOSS if the key is none of those
// above.
struct ItemKey {
  uint64_t ino = 0;
  ItemKind kind = ItemKind::kInode;
  NamePlace name;              // of kName, kHash and kLink
  uint64_t hash = 0;           // of kHash and kPurge
  absl::string_view xattr;     // of kXattr; lies in the key
  uint8_t chunk = 0;           // of kXattr
  uint64_t file_offset = 0;    // of kExtent
  uint64_t unfinished_id = 0;  // of kUnfinished
  absl::string_view snapshot;  // of kSnapshot; lies in the key
  uint64_t before = 0;         // of kPurge
};
absl::StatusOr<ItemKey> ParseKey(absl::string_view key);

// --- Values ------------------------------------------------------------------

// The entry whose payload is the whole content of a file.
struct WholeEntry {
  uint64_t store_offset = 0;  // of its payload
  uint64_t key_hash = 0;
  uint32_t crc32 = 0;

  friend bool operator==(const WholeEntry&, const WholeEntry&) = default;
};
// Of an extent that is all of an entry.
inline WholeEntry WholeEntryOf(const Extent& extent) {
  return {.store_offset = extent.store_offset,
          .key_hash = extent.key_hash,
          .crc32 = extent.entry_crc32};
}

struct InodeItem {
  uint64_t ino = 0;  // from the key
  Attributes attributes;
  // The name that decides the path. The root and inodes without a name have
  // none.
  NamePlace first_name;
  // For a file, whether it has got a name since its content was set; for a
  // directory, whether it has got another name while there were names in it.
  // Plain files here or below may then lie under the keys of former paths.
  bool moved = false;
  // For a directory, the number of directories in it; else the number of names.
  uint32_t links = 0;
  // For a directory: the number of names in it, and the place of the next one.
  uint64_t name_count = 0;
  uint64_t next_place = NamePlace::kFirst;
  // For a file or symlink: either whole_entry or extents, or neither if it is
  // empty or a hole.
  std::optional<WholeEntry> whole_entry;
  uint64_t extent_count = 0;  // kExtent items
  uint64_t extent_bytes = 0;  // bytes in these extents
  uint64_t patched = 0;       // bytes laid over the content since it was set

  bool is_directory() const { return S_ISDIR(attributes.mode); }
  bool is_regular() const { return S_ISREG(attributes.mode); }
  bool is_symlink() const { return S_ISLNK(attributes.mode); }
  // As stat(2) has it.
  uint32_t nlink() const { return is_directory() ? links + 2 : links; }
  // Bytes of its content that are not holes.
  uint64_t data_bytes() const {
    return whole_entry.has_value() ? attributes.size : extent_bytes;
  }
  // whole_entry as an extent.
  Extent WholeExtent() const;

  friend bool operator==(const InodeItem&, const InodeItem&) = default;
};
std::string EncodeInode(const InodeItem& item);
absl::StatusOr<InodeItem> DecodeInode(uint64_t ino, absl::string_view value);

struct NameItem {
  NamePlace place;  // from the key
  uint64_t ino = 0;
  uint8_t type = 0;        // of that inode: its S_IFMT bits, shifted down
  absl::string_view text;  // lies in the value

  uint32_t mode_type() const { return uint32_t{type} << 12; }
};
std::string EncodeName(uint64_t ino, uint32_t mode, absl::string_view text);
absl::StatusOr<NameItem> DecodeName(NamePlace place, absl::string_view value);

std::string EncodeExtentItem(const Extent& extent);
absl::StatusOr<Extent> DecodeExtentItem(uint64_t file_offset,
                                        absl::string_view value);

// What is in a tree.
struct TreeTotals {
  uint64_t inodes = 0;         // the root included
  uint64_t names = 0;          //
  uint64_t extents = 0;        // kExtent items
  uint64_t content_bytes = 0;  // the sizes of all regular files
  uint64_t data_bytes = 0;     // without holes, but with symlinks
  bool may_have_clones = false;

  friend bool operator==(const TreeTotals&, const TreeTotals&) = default;
};
std::string EncodeTotals(const TreeTotals& totals);
absl::StatusOr<TreeTotals> DecodeTotals(absl::string_view value);

std::string EncodeUnfinished(uint64_t end);
// Returns the end of the range that begins at `begin`.
absl::StatusOr<uint64_t> DecodeUnfinished(uint64_t begin,
                                          absl::string_view value);

// A moment that has a name, and is kept as long as it has.
struct SnapshotItem {
  absl::string_view name;  // from the key
  uint64_t sequence = 0;   // of the last commit that it includes
  Timestamp time;          // of that commit
  uint8_t flags = 0;       // as in PutSnapshot

  bool is_held() const { return (flags & PutSnapshot::kHeld) != 0; }
  bool is_automatic() const { return (flags & PutSnapshot::kAutomatic) != 0; }
};
std::string EncodeSnapshot(const SnapshotItem& snapshot);
absl::StatusOr<SnapshotItem> DecodeSnapshot(absl::string_view name,
                                            absl::string_view value);

// A path that moments before the commit `before` no longer have.
struct PurgedPath {
  uint64_t before = 0;
  std::string path;

  friend bool operator==(const PurgedPath&, const PurgedPath&) = default;
};
// The value of its item is the path.
absl::StatusOr<PurgedPath> DecodePurge(uint64_t before,
                                       absl::string_view value);

std::string EncodeKeptFrom(uint64_t sequence);
absl::StatusOr<uint64_t> DecodeKeptFrom(absl::string_view value);

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_ITEMS_H_
