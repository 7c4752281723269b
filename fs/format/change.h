// The changes that a commit record holds. Each says what becomes true of the
// tree; a list of them, applied in order, is one operation.
//
// A change has its kind number and its encoding with it, and names its extents
// in a list called `extents`; all other code folds over `Change`. A new kind is
// a struct here, its encoding in change.cc, and its meaning, Tree::Do().
//
// Strings are views into memory that the maker of the change owns: the record
// they were decoded from, or the arguments of the operation being planned.

#ifndef VARVE_FS_FORMAT_CHANGE_H_
#define VARVE_FS_FORMAT_CHANGE_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <variant>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "fs/format/extent.h"
#include "fs/format/timestamp.h"
#include "fs/format/wire.h"

namespace varve::fs {

// Limits that a reader enforces, so that a hostile record is an error.
inline constexpr size_t kMaxNameSize = 255;
inline constexpr size_t kMaxXattrNameSize = 255;
inline constexpr size_t kMaxXattrValueSize = 65536;
inline constexpr uint64_t kMaxFileSize = INT64_MAX;
// Numbers of inodes and of data ids are below this one.
inline constexpr uint64_t kMaxId = uint64_t{1} << 62;
// The number of the root's inode.
inline constexpr uint64_t kRootIno = 1;

// The record that a change is read from, which its encoding may refer to.
struct RecordContext {
  absl::string_view payload;  // in which the body of the change lies
  // Those of the entry, so that bytes in the record can be given as an extent.
  uint64_t payload_offset = 0;
  uint64_t key_hash = 0;
  uint32_t crc32 = 0;
  Timestamp time;  // of the commit
};

// Stands where a change has its kind: what follows is the record's digest.
inline constexpr uint8_t kDigestKind = 10;
// And of what a checkpoint has instead of changes.
inline constexpr uint8_t kRootKind = 11;

// Every change has:
//
//   kKind     its number in records. Never changed, and never used again.
//   Encode()  appends its body to `out`; `time` is that of its commit.
//   Decode()  sets it from its body, which is all that is left of `in`. Fails
//             `in` if the body is malformed.

// The attributes of an inode that are stored. Link counts follow from names.
struct Attributes {
  uint32_t mode = 0;  // type and permission bits, as st_mode
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev = 0;  // of device nodes, as the kernel's 32-bit encoding
  uint64_t size = 0;  // bytes; 0 for directories
  uint32_t generation = 0;
  Timestamp atime;
  Timestamp mtime;
  Timestamp ctime;
  Timestamp btime;

  friend bool operator==(const Attributes&, const Attributes&) = default;
};

// All of them but the times, one behind the other.
void EncodeAttributes(const Attributes& attributes, WireWriter out);
void DecodeAttributes(WireReader& in, Attributes& attributes);

// Makes the inode, or replaces its attributes. A size smaller than before
// forgets the content behind it.
struct PutInode {
  static constexpr uint8_t kKind = 1;

  uint64_t ino = 0;
  Attributes attributes;

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const PutInode&, const PutInode&) = default;
};

// Removes an inode that has no name left.
struct DropInode {
  static constexpr uint8_t kKind = 2;

  uint64_t ino = 0;

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const DropInode&, const DropInode&) = default;
};

// Gives the inode a name that is not taken. Outside checkpoints this sets
// mtime and ctime of the parent, and ctime of the inode, to the commit's time.
struct PutName {
  static constexpr uint8_t kKind = 3;

  uint64_t parent = 0;
  uint64_t ino = 0;
  absl::string_view name = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const PutName&, const PutName&) = default;
};

// Takes a name away; the same times change as with PutName.
struct DropName {
  static constexpr uint8_t kKind = 4;

  uint64_t parent = 0;
  absl::string_view name = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const DropName&, const DropName&) = default;
};

using ExtentList = absl::InlinedVector<Extent, 1>;

// An extent as it stands in records, and in items of the tree.
void EncodeExtent(const Extent& extent, WireWriter out);
// The same back; fails `in` if there is none that can be. `record` is what it
// is read from; null if it may not be one whose bytes lie in the record itself.
void DecodeExtent(const RecordContext* record, WireReader& in, Extent& extent);

// Replaces all content of the inode. Does not change its size.
struct SetContent {
  static constexpr uint8_t kKind = 5;

  uint64_t ino = 0;
  ExtentList extents = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const SetContent&, const SetContent&) = default;
};

// Lays the extents (holes count) over the content of the inode.
struct PatchContent {
  static constexpr uint8_t kKind = 6;

  uint64_t ino = 0;
  ExtentList extents = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const PatchContent&, const PatchContent&) = default;
};

// Appends the body of a PatchContent whose bytes lie in the body itself, at its
// end. It is read as one extent.
void EncodeInlinePatch(uint64_t ino, uint64_t file_offset,
                       absl::string_view bytes, WireWriter out);

struct SetXattr {
  static constexpr uint8_t kKind = 7;

  uint64_t ino = 0;
  absl::string_view name = {};
  absl::string_view value = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const SetXattr&, const SetXattr&) = default;
};

struct DropXattr {
  static constexpr uint8_t kKind = 8;

  uint64_t ino = 0;
  absl::string_view name = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const DropXattr&, const DropXattr&) = default;
};

// Data ids in [begin, end) belong to entries that an unclean stop left without
// a commit; they are shown among the unnamed ones.
struct KeepUnfinished {
  static constexpr uint8_t kKind = 9;

  uint64_t begin = 0;
  uint64_t end = 0;

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const KeepUnfinished&,
                         const KeepUnfinished&) = default;
};

using Change = std::variant<PutInode, DropInode, PutName, DropName, SetContent,
                            PatchContent, SetXattr, DropXattr, KeepUnfinished>;

// Appends the body of the change to `out`, and returns its kind. `time` is that
// of its commit.
uint8_t EncodeChange(const Change& change, Timestamp time, WireWriter out);

// Makes `change` the one of that kind whose body `in` is, and fails `in` if the
// body is malformed. False, and nothing is touched, if there is no such kind.
bool DecodeChange(uint8_t kind, const RecordContext& record, WireReader& in,
                  Change& change);

// The extents that a change names; null if its kind names none. To be changed,
// if the change is.
template <typename AnyChange>
requires std::is_same_v<std::remove_const_t<AnyChange>, Change>
auto* ExtentsOf(AnyChange& change) {
  using List = std::conditional_t<std::is_const_v<AnyChange>, const ExtentList,
                                  ExtentList>;
  return std::visit(
      [](auto& c) -> List* {
        if constexpr (requires { c.extents; }) {
          return &c.extents;
        } else {
          return nullptr;
        }
      },
      change);
}

// Whether `name` can be a name in a directory: 1 to 255 bytes, no '/', no NUL,
// neither "." nor "..".
bool IsValidName(absl::string_view name);

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_CHANGE_H_
