// The changes that a commit record holds. Each says what becomes true of the
// tree; a list of them, applied in order, is one operation.
//
// Strings are views into memory that the maker of the change owns: the record
// they were decoded from, or the arguments of the operation being planned.

#ifndef VARVE_FS_FORMAT_CHANGE_H_
#define VARVE_FS_FORMAT_CHANGE_H_

#include <cstdint>
#include <variant>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "fs/format/extent.h"
#include "fs/format/timestamp.h"

namespace varve::fs {

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

// Makes the inode, or replaces its attributes. A size smaller than before
// forgets the content behind it.
struct PutInode {
  uint64_t ino = 0;
  Attributes attributes;
};

// Removes an inode that has no name left.
struct DropInode {
  uint64_t ino = 0;
};

// Gives the inode a name that is not taken. Outside checkpoints this sets
// mtime and ctime of the parent, and ctime of the inode, to the commit's time.
struct PutName {
  uint64_t parent = 0;
  uint64_t ino = 0;
  absl::string_view name = {};
};

// Takes a name away; the same times change as with PutName.
struct DropName {
  uint64_t parent = 0;
  absl::string_view name = {};
};

using ExtentList = absl::InlinedVector<Extent, 1>;

// Replaces all content of the inode. Does not change its size.
struct SetContent {
  uint64_t ino = 0;
  ExtentList extents = {};
};

// Lays the extents (holes count) over the content of the inode.
struct PatchContent {
  uint64_t ino = 0;
  ExtentList extents = {};
};

struct SetXattr {
  uint64_t ino = 0;
  absl::string_view name = {};
  absl::string_view value = {};
};

struct DropXattr {
  uint64_t ino = 0;
  absl::string_view name = {};
};

// Data ids in [begin, end) belong to entries that an unclean stop left without
// a commit; they are shown among the unnamed ones.
struct KeepUnfinished {
  uint64_t begin = 0;
  uint64_t end = 0;
};

using Change = std::variant<PutInode, DropInode, PutName, DropName, SetContent,
                            PatchContent, SetXattr, DropXattr, KeepUnfinished>;

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_CHANGE_H_
