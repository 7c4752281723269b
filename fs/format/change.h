// The changes that a commit record holds. Each states what becomes true of the
// tree. A list of them, applied in order, is one operation.
//
// Each struct has its kind number and its encoding, and a member `extents` if
// it names extents. All other code visits the variant `Change`. CONTRIBUTING.md
// says what a new kind needs.
//
// Strings are views into memory that the maker of the change owns: the record
// from which they were decoded, or the arguments of the operation that is being
// planned. Changes are values: not thread-safe.

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

// Limits that readers enforce, so that a hostile record is an error.
inline constexpr size_t kMaxNameSize = 255;
inline constexpr size_t kMaxXattrNameSize = 255;
inline constexpr size_t kMaxXattrValueSize = 65536;
inline constexpr uint64_t kMaxFileSize = INT64_MAX;
inline constexpr size_t kMaxPolicySize = 1024;
inline constexpr size_t kMaxPathSize = 4096;
inline constexpr size_t kMaxProcessNameSize = 64;
// Inode numbers and data ids are less than this.
inline constexpr uint64_t kMaxId = uint64_t{1} << 55;
// The number of the root's inode.
inline constexpr uint64_t kRootIno = 1;

// The record from which a change is read. The encoding of a change may refer to
// it.
struct RecordContext {
  absl::string_view payload;  // contains the body of the change
  // From the entry, so that bytes in the record can become an extent.
  uint64_t payload_offset = 0;
  uint64_t key_hash = 0;
  uint32_t crc32 = 0;
  Timestamp time;  // of the commit
};

// In the place of a change's kind: announces the digest of the record.
inline constexpr uint8_t kDigestKind = 10;
// In the place of a change's kind: announces the root, which a checkpoint has
// instead of changes.
inline constexpr uint8_t kRootKind = 11;

// Every change has:
//
//   kKind     its number in records, which is never changed and never reused.
//   Encode()  appends its body to `out`; `time` is the time of its commit.
//   Decode()  sets it from its body, which is the rest of `in`. Calls
//             in.Fail() if the body is malformed.

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

// Encode and decode all attributes except the times.
void EncodeAttributes(const Attributes& attributes, WireWriter out);
void DecodeAttributes(WireReader& in, Attributes& attributes);

// Creates the inode or replaces its attributes. A smaller size than before
// drops the content behind it.
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

// Removes a name. Changes the same times as PutName.
struct DropName {
  static constexpr uint8_t kKind = 4;

  uint64_t parent = 0;
  absl::string_view name = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const DropName&, const DropName&) = default;
};

using ExtentList = absl::InlinedVector<Extent, 1>;

// Encodes an extent as it stands in records and in items of the tree.
void EncodeExtent(const Extent& extent, WireWriter out);
// Decodes an extent. Calls `in.Fail()` if it is malformed. `record` is the
// record from which it is read; null if an extent with its bytes in the record
// is not allowed.
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

// Lays the extents, holes included, over the content of the inode.
struct PatchContent {
  static constexpr uint8_t kKind = 6;

  uint64_t ino = 0;
  ExtentList extents = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const PatchContent&, const PatchContent&) = default;
};

// Appends the body of a PatchContent whose bytes lie in the body itself, at its
// end. A reader decodes it as one extent.
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

// The data ids in [begin, end) belong to entries that an unclean stop left
// without a commit. The mount shows them among the unnamed entries.
struct KeepUnfinished {
  static constexpr uint8_t kKind = 9;

  uint64_t begin = 0;
  uint64_t end = 0;

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const KeepUnfinished&,
                         const KeepUnfinished&) = default;
};

// Gives a name to the moment after the commit `sequence`, which is then kept
// until it has no name left. The name must not be taken.
struct PutSnapshot {
  static constexpr uint8_t kKind = 12;
  // It may not be dropped until it is put anew without this flag.
  static constexpr uint8_t kHeld = 1;
  // The policy made it, and may drop it.
  static constexpr uint8_t kAutomatic = 2;

  uint64_t sequence = 0;
  Timestamp time;  // of that moment
  uint8_t flags = 0;
  absl::string_view name = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const PutSnapshot&, const PutSnapshot&) = default;
};

// Takes the name of a snapshot away.
struct DropSnapshot {
  static constexpr uint8_t kKind = 13;

  absl::string_view name = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const DropSnapshot&, const DropSnapshot&) = default;
};

// From here on, moments before the commit `sequence` are kept only if they are
// snapshots. A lower number than before has no effect.
struct ForgetBefore {
  static constexpr uint8_t kKind = 14;

  uint64_t sequence = 0;

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const ForgetBefore&, const ForgetBefore&) = default;
};

// Sets the policy that says how long moments are kept; see
// history/policy.h for its text.
struct SetPolicy {
  static constexpr uint8_t kKind = 15;

  absl::string_view policy = {};

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const SetPolicy&, const SetPolicy&) = default;
};

// Says which user has made the commit, and if that is to be noted, which
// process. Changes nothing in the tree.
struct NoteAuthor {
  static constexpr uint8_t kKind = 16;

  uint32_t uid = 0;
  uint32_t pid = 0;                // 0: not noted
  absl::string_view process = {};  // its command; may be empty

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const NoteAuthor&, const NoteAuthor&) = default;
};

// Takes a path out of the moments before the commit `before`: in them, neither
// it nor what lies below it is there any more.
struct PurgePath {
  static constexpr uint8_t kKind = 17;

  uint64_t before = 0;
  absl::string_view path = {};  // see IsValidPath()

  void Encode(Timestamp time, WireWriter out) const;
  void Decode(const RecordContext& record, WireReader& in);
  friend bool operator==(const PurgePath&, const PurgePath&) = default;
};

using Change =
    std::variant<PutInode, DropInode, PutName, DropName, SetContent,
                 PatchContent, SetXattr, DropXattr, KeepUnfinished, PutSnapshot,
                 DropSnapshot, ForgetBefore, SetPolicy, NoteAuthor, PurgePath>;

// Appends the body of the change to `out` and returns its kind. `time` is the
// time of its commit.
uint8_t EncodeChange(const Change& change, Timestamp time, WireWriter out);

// Decodes a change of that kind, whose body is `in`, into `change`. Calls
// `in.Fail()` if the body is malformed. Returns false and touches nothing if
// there is no such kind.
bool DecodeChange(uint8_t kind, const RecordContext& record, WireReader& in,
                  Change& change);

// The extents that a change names; null if its kind names none. Mutable if
// `change` is.
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

// Whether `name` can be a name in a directory, or of a snapshot: 1 to 255
// bytes, no '/', no NUL, neither "." nor "..".
bool IsValidName(absl::string_view name);
// Whether `path` can be a path from the root: valid names, each separated from
// the next by one '/', with up to kMaxPathSize bytes in all.
bool IsValidPath(absl::string_view path);

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_CHANGE_H_
