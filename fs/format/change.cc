#include "fs/format/change.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_split.h"
#include "engine/entry/entry.h"

namespace varve::fs {
namespace {

// Kinds of extents, as stored.
enum ExtentKind : uint8_t {
  kData = 0,
  kHole = 1,
  kInline = 2,
  kWholeEntry = 3,  // all of one entry, which belongs to this file alone
  kShared = 4,      // bytes of an entry that belongs to another file
};

// Bits of PutInode that say "this time is the commit's time".
enum TimeBits : uint8_t { kAtime = 1, kMtime = 2, kCtime = 4, kBtime = 8 };

// The rest of the body, as a name.
absl::string_view DecodeName(WireReader& in) {
  const absl::string_view name = in.rest();
  if (!IsValidName(name)) in.Fail();
  return name;
}

void EncodeExtents(const ExtentList& extents, WireWriter out) {
  for (const Extent& extent : extents) EncodeExtent(extent, out);
}

void DecodeLocation(uint8_t kind, WireReader& in, Extent& e) {
  e.store_offset = in.Varint();
  e.key_hash = in.U64();
  e.entry_crc32 = in.U32();
  const bool whole = kind == kWholeEntry;
  e.entry_offset = whole ? 0 : in.Varint();
  e.entry_size = whole ? e.length : in.Varint();
  e.shared = kind == kShared;
  if (e.store_offset > kMaxFileSize - kMetadataSize ||
      e.entry_size > kMaxFileSize - kMetadataSize - e.store_offset ||
      e.entry_offset > e.store_offset || e.entry_size < e.length ||
      e.entry_offset > e.entry_size - e.length) {
    in.Fail();
  }
}

void DecodeExtents(const RecordContext& record, WireReader& in,
                   ExtentList& extents) {
  // Holes take little room in a record and much in memory. No writer produces
  // so many without data in between.
  constexpr int kMostHoles = 1 << 22;
  int holes = 0;
  while (in.ok() && !in.at_end()) {
    Extent& e = extents.emplace_back();
    DecodeExtent(&record, in, e);
    holes = e.is_hole() ? holes + 1 : 0;
    if (holes > kMostHoles) in.Fail();
  }
}

}  // namespace

// --- Extents -----------------------------------------------------------------

void EncodeExtent(const Extent& extent, WireWriter out) {
  if (extent.is_hole()) {
    out.U8(kHole);
    out.Varint(extent.file_offset);
    out.Varint(extent.length);
    return;
  }
  out.U8(extent.shared ? kShared : extent.owns_entry() ? kWholeEntry : kData);
  out.Varint(extent.file_offset);
  out.Varint(extent.length);
  out.Varint(extent.store_offset);
  out.U64(extent.key_hash);
  out.U32(extent.entry_crc32);
  if (!extent.owns_entry()) {
    out.Varint(extent.entry_offset);
    out.Varint(extent.entry_size);
  }
}

void DecodeExtent(const RecordContext* record, WireReader& in, Extent& e) {
  e = Extent();
  const uint8_t kind = in.U8();
  e.file_offset = in.Varint();
  e.length = in.Varint();
  if (kind == kHole) {
    e.store_offset = Extent::kHole;
  } else if (kind == kInline && record != nullptr) {
    const absl::string_view bytes = in.Bytes(e.length);
    e.entry_offset = in.ok() ? bytes.data() - record->payload.data() : 0;
    e.store_offset = record->payload_offset + e.entry_offset;
    e.key_hash = record->key_hash;
    e.entry_size = record->payload.size();
    e.entry_crc32 = record->crc32;
  } else if (kind == kData || kind == kWholeEntry || kind == kShared) {
    DecodeLocation(kind, in, e);
  } else {
    in.Fail();
  }
  if (e.length == 0 || e.length > kMaxFileSize ||
      e.file_offset > kMaxFileSize - e.length) {
    in.Fail();
  }
}

// --- The kinds ---------------------------------------------------------------

void EncodeAttributes(const Attributes& attributes, WireWriter out) {
  out.Varint(attributes.mode);
  out.Varint(attributes.uid);
  out.Varint(attributes.gid);
  out.Varint(attributes.rdev);
  out.Varint(attributes.size);
  out.Varint(attributes.generation);
}

void DecodeAttributes(WireReader& in, Attributes& attributes) {
  attributes.mode = in.Varint32();
  attributes.uid = in.Varint32();
  attributes.gid = in.Varint32();
  attributes.rdev = in.Varint32();
  attributes.size = in.Varint();
  attributes.generation = in.Varint32();
}

void PutInode::Encode(Timestamp time, WireWriter out) const {
  const Attributes& a = attributes;
  out.Varint(ino);
  EncodeAttributes(a, out);
  const std::pair<Timestamp, uint8_t> times[] = {{a.atime, kAtime},
                                                 {a.mtime, kMtime},
                                                 {a.ctime, kCtime},
                                                 {a.btime, kBtime}};
  uint8_t bits = 0;
  for (const auto& [value, bit] : times) {
    if (value == time) bits |= bit;
  }
  out.U8(bits);
  for (const auto& [value, bit] : times) {
    if (value != time) out.U64(value.packed());
  }
}

void PutInode::Decode(const RecordContext& record, WireReader& in) {
  Attributes& a = attributes;
  ino = in.Varint();
  DecodeAttributes(in, a);
  const uint8_t bits = in.U8();
  const std::pair<Timestamp*, uint8_t> times[] = {{&a.atime, kAtime},
                                                  {&a.mtime, kMtime},
                                                  {&a.ctime, kCtime},
                                                  {&a.btime, kBtime}};
  for (const auto& [value, bit] : times) {
    *value = (bits & bit) != 0 ? record.time : Timestamp::FromPacked(in.U64());
  }
  if (ino == 0 || ino >= kMaxId || a.size > kMaxFileSize) in.Fail();
}

void DropInode::Encode(Timestamp, WireWriter out) const { out.Varint(ino); }

void DropInode::Decode(const RecordContext&, WireReader& in) {
  ino = in.Varint();
}

void PutName::Encode(Timestamp, WireWriter out) const {
  out.Varint(parent);
  out.Varint(ino);
  out.Bytes(name);
}

void PutName::Decode(const RecordContext&, WireReader& in) {
  parent = in.Varint();
  ino = in.Varint();
  name = DecodeName(in);
}

void DropName::Encode(Timestamp, WireWriter out) const {
  out.Varint(parent);
  out.Bytes(name);
}

void DropName::Decode(const RecordContext&, WireReader& in) {
  parent = in.Varint();
  name = DecodeName(in);
}

void SetContent::Encode(Timestamp, WireWriter out) const {
  out.Varint(ino);
  EncodeExtents(extents, out);
}

void SetContent::Decode(const RecordContext& record, WireReader& in) {
  ino = in.Varint();
  DecodeExtents(record, in, extents);
}

void PatchContent::Encode(Timestamp, WireWriter out) const {
  out.Varint(ino);
  EncodeExtents(extents, out);
}

void PatchContent::Decode(const RecordContext& record, WireReader& in) {
  ino = in.Varint();
  DecodeExtents(record, in, extents);
}

void EncodeInlinePatch(uint64_t ino, uint64_t file_offset,
                       absl::string_view bytes, WireWriter out) {
  out.Varint(ino);
  out.U8(kInline);
  out.Varint(file_offset);
  out.SizedBytes(bytes);
}

void SetXattr::Encode(Timestamp, WireWriter out) const {
  out.Varint(ino);
  out.SizedBytes(name);
  out.Bytes(value);
}

void SetXattr::Decode(const RecordContext&, WireReader& in) {
  ino = in.Varint();
  name = in.SizedBytes();
  value = in.rest();
  if (name.empty() || name.size() > kMaxXattrNameSize ||
      name.find('\0') != absl::string_view::npos ||
      value.size() > kMaxXattrValueSize) {
    in.Fail();
  }
}

void DropXattr::Encode(Timestamp, WireWriter out) const {
  out.Varint(ino);
  out.Bytes(name);
}

void DropXattr::Decode(const RecordContext&, WireReader& in) {
  ino = in.Varint();
  name = in.rest();
}

void KeepUnfinished::Encode(Timestamp, WireWriter out) const {
  out.Varint(begin);
  out.Varint(end);
}

void KeepUnfinished::Decode(const RecordContext&, WireReader& in) {
  begin = in.Varint();
  end = in.Varint();
}

// --- History -----------------------------------------------------------------

void PutSnapshot::Encode(Timestamp, WireWriter out) const {
  out.Varint(sequence);
  out.U64(time.packed());
  out.U8(flags);
  out.Bytes(name);
}

void PutSnapshot::Decode(const RecordContext&, WireReader& in) {
  sequence = in.Varint();
  time = Timestamp::FromPacked(in.U64());
  flags = in.U8();
  name = DecodeName(in);
}

void DropSnapshot::Encode(Timestamp, WireWriter out) const { out.Bytes(name); }

void DropSnapshot::Decode(const RecordContext&, WireReader& in) {
  name = DecodeName(in);
}

void ForgetBefore::Encode(Timestamp, WireWriter out) const {
  out.Varint(sequence);
}

void ForgetBefore::Decode(const RecordContext&, WireReader& in) {
  sequence = in.Varint();
}

void SetPolicy::Encode(Timestamp, WireWriter out) const { out.Bytes(policy); }

void SetPolicy::Decode(const RecordContext&, WireReader& in) {
  policy = in.rest();
  if (policy.size() > kMaxPolicySize) in.Fail();
}

void NoteAuthor::Encode(Timestamp, WireWriter out) const {
  out.Varint(uid);
  if (pid == 0) return;
  out.Varint(pid);
  out.Bytes(process);
}

void NoteAuthor::Decode(const RecordContext&, WireReader& in) {
  uid = in.Varint32();
  pid = 0;
  process = {};
  if (in.at_end()) return;
  pid = in.Varint32();
  process = in.rest();
  if (pid == 0 || process.size() > kMaxProcessNameSize) in.Fail();
}

void PurgePath::Encode(Timestamp, WireWriter out) const {
  out.Varint(before);
  out.Bytes(path);
}

void PurgePath::Decode(const RecordContext&, WireReader& in) {
  before = in.Varint();
  path = in.rest();
  if (!IsValidPath(path)) in.Fail();
}

// --- All kinds -------------------------------------------------------------

namespace {

template <typename... Kinds>
constexpr bool HaveNumbersOfTheirOwn(
    std::type_identity<std::variant<Kinds...>>) {
  uint8_t numbers[] = {kDigestKind, kRootKind, Kinds::kKind...};
  std::sort(std::begin(numbers), std::end(numbers));
  return std::adjacent_find(std::begin(numbers), std::end(numbers)) ==
         std::end(numbers);
}

static_assert(HaveNumbersOfTheirOwn(std::type_identity<Change>()),
              "two kinds of changes have the same number");

template <typename Kind>
bool DecodeIf(uint8_t number, const RecordContext& record, WireReader& in,
              Change& change) {
  if (number != Kind::kKind) return false;
  change.emplace<Kind>().Decode(record, in);
  return true;
}

template <typename... Kinds>
bool DecodeOneOf(uint8_t number, const RecordContext& record, WireReader& in,
                 std::variant<Kinds...>& change) {
  return (DecodeIf<Kinds>(number, record, in, change) || ...);
}

}  // namespace

uint8_t EncodeChange(const Change& change, Timestamp time, WireWriter out) {
  return std::visit(
      [&]<typename Kind>(const Kind& c) {
        c.Encode(time, out);
        return Kind::kKind;
      },
      change);
}

bool DecodeChange(uint8_t kind, const RecordContext& record, WireReader& in,
                  Change& change) {
  return DecodeOneOf(kind, record, in, change);
}

bool IsValidName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxNameSize && name != "." &&
         name != ".." && name.find('/') == absl::string_view::npos &&
         name.find('\0') == absl::string_view::npos;
}

bool IsValidPath(absl::string_view path) {
  if (path.size() > kMaxPathSize) return false;
  for (const absl::string_view name : absl::StrSplit(path, '/')) {
    if (!IsValidName(name)) return false;
  }
  return true;
}

}  // namespace varve::fs
