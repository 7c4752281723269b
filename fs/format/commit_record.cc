#include "fs/format/commit_record.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

constexpr uint32_t kMagic = 0x31435256;  // "VRC1"

// Kinds of changes, as stored. Never renumber.
enum Kind : uint8_t {
  kPutInode = 1,
  kDropInode = 2,
  kPutName = 3,
  kDropName = 4,
  kSetContent = 5,
  kPatchContent = 6,
  kSetXattr = 7,
  kDropXattr = 8,
  kKeepUnfinished = 9,
  kDigest = 10,  // of the record; no change
};

// Of the last item of a record: kind, size and XXH3.
constexpr size_t kDigestSize = 1 + 1 + 8;

// Kinds of extents, as stored.
enum ExtentKind : uint8_t {
  kData = 0,
  kHole = 1,
  kInline = 2,
  kWholeEntry = 3,  // all of one entry, which is this file's own
  kShared = 4,      // bytes of an entry that belongs to another file
};

// Bits of PutInode that say "this time is the commit's time".
enum TimeBits : uint8_t { kAtime = 1, kMtime = 2, kCtime = 4, kBtime = 8 };

void EncodeInode(const PutInode& put, Timestamp now, WireWriter out) {
  const Attributes& a = put.attributes;
  out.Varint(put.ino);
  out.Varint(a.mode);
  out.Varint(a.uid);
  out.Varint(a.gid);
  out.Varint(a.rdev);
  out.Varint(a.size);
  out.Varint(a.generation);
  const std::pair<Timestamp, uint8_t> times[] = {{a.atime, kAtime},
                                                 {a.mtime, kMtime},
                                                 {a.ctime, kCtime},
                                                 {a.btime, kBtime}};
  uint8_t bits = 0;
  for (const auto& [time, bit] : times) {
    if (time == now) bits |= bit;
  }
  out.U8(bits);
  for (const auto& [time, bit] : times) {
    if (time != now) out.U64(time.packed());
  }
}

void DecodeInode(Timestamp now, WireReader& in, PutInode& put) {
  Attributes& a = put.attributes;
  put.ino = in.Varint();
  a.mode = in.Varint32();
  a.uid = in.Varint32();
  a.gid = in.Varint32();
  a.rdev = in.Varint32();
  a.size = in.Varint();
  a.generation = in.Varint32();
  const uint8_t bits = in.U8();
  const std::pair<Timestamp*, uint8_t> times[] = {{&a.atime, kAtime},
                                                  {&a.mtime, kMtime},
                                                  {&a.ctime, kCtime},
                                                  {&a.btime, kBtime}};
  for (const auto& [time, bit] : times) {
    *time = (bits & bit) != 0 ? now : Timestamp::FromPacked(in.U64());
  }
  if (put.ino == 0 || put.ino >= kMaxId || a.size > kMaxFileSize) in.Fail();
}

void DecodeXattr(WireReader& in, SetXattr& set) {
  set.ino = in.Varint();
  set.name = in.SizedBytes();
  set.value = in.rest();
  if (set.name.empty() || set.name.size() > kMaxXattrNameSize ||
      set.name.find('\0') != absl::string_view::npos ||
      set.value.size() > kMaxXattrValueSize) {
    in.Fail();
  }
}

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

// The kind of a change and its encoded body.
struct Encoder {
  Timestamp now;
  WireWriter out;

  uint8_t operator()(const PutInode& c) {
    EncodeInode(c, now, out);
    return kPutInode;
  }
  uint8_t operator()(const DropInode& c) {
    out.Varint(c.ino);
    return kDropInode;
  }
  uint8_t operator()(const PutName& c) {
    out.Varint(c.parent);
    out.Varint(c.ino);
    out.Bytes(c.name);
    return kPutName;
  }
  uint8_t operator()(const DropName& c) {
    out.Varint(c.parent);
    out.Bytes(c.name);
    return kDropName;
  }
  uint8_t operator()(const SetContent& c) {
    Content(c.ino, c.extents);
    return kSetContent;
  }
  uint8_t operator()(const PatchContent& c) {
    Content(c.ino, c.extents);
    return kPatchContent;
  }
  uint8_t operator()(const SetXattr& c) {
    out.Varint(c.ino);
    out.SizedBytes(c.name);
    out.Bytes(c.value);
    return kSetXattr;
  }
  uint8_t operator()(const DropXattr& c) {
    out.Varint(c.ino);
    out.Bytes(c.name);
    return kDropXattr;
  }
  uint8_t operator()(const KeepUnfinished& c) {
    out.Varint(c.begin);
    out.Varint(c.end);
    return kKeepUnfinished;
  }

 private:
  void Content(uint64_t ino, const ExtentList& extents) {
    out.Varint(ino);
    for (const Extent& extent : extents) EncodeExtent(extent, out);
  }
};

}  // namespace

bool IsValidName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxNameSize && name != "." &&
         name != ".." && name.find('/') == absl::string_view::npos &&
         name.find('\0') == absl::string_view::npos;
}

CommitWriter::CommitWriter(const CommitHeader& header) : header_(header) {
  WireWriter out(&payload_);
  out.U32(kMagic);
  out.U8(header.version);
  out.U8(header.flags);
  out.U64(header.time.packed());
  out.Varint(header.sequence);
  out.Varint(header.position);
  out.Varint(header.batch_begin);
  out.Varint(header.durable_tail);
  out.Varint(header.next_ino);
  out.Varint(header.next_data_id);
  out.Varint(header.checkpoint);
}

void CommitWriter::AddBody(uint8_t kind, absl::string_view body) {
  WireWriter out(&payload_);
  out.U8(kind);
  out.SizedBytes(body);
}

void CommitWriter::Add(const Change& change) {
  scratch_.clear();
  const uint8_t kind =
      std::visit(Encoder{header_.time, WireWriter(&scratch_)}, change);
  AddBody(kind, scratch_);
}

size_t CommitWriter::AddInline(uint64_t ino, uint64_t file_offset,
                               absl::string_view bytes) {
  scratch_.clear();
  WireWriter out(&scratch_);
  out.Varint(ino);
  out.U8(kInline);
  out.Varint(file_offset);
  out.SizedBytes(bytes);
  AddBody(kPatchContent, scratch_);
  return payload_.size() - bytes.size();
}

void CommitWriter::AddDigest() {
  scratch_.clear();
  WireWriter(&scratch_).U64(HashKey(payload_));
  AddBody(kDigest, scratch_);
}

namespace {

absl::StatusOr<CommitHeader> ParseHeader(WireReader& in) {
  CommitHeader header;
  if (in.U32() != kMagic) return DamageError("not a commit record");
  // These are the same in all versions, so that any reader can tell a record
  // that it cannot read from bytes that are none.
  header.version = in.U8();
  header.flags = in.U8();
  header.time = Timestamp::FromPacked(in.U64());
  header.sequence = in.Varint();
  if (in.ok() && header.version > kRecordVersion) return header;
  header.position = in.Varint();
  header.batch_begin = in.Varint();
  header.durable_tail = in.Varint();
  header.next_ino = in.Varint();
  header.next_data_id = in.Varint();
  header.checkpoint = in.Varint();
  if (!in.ok()) return DamageError("the commit record's header is cut short");
  return header;
}

}  // namespace

// Checksum and digest of what has been read, and of some more: what is summed
// up is then in the cache when it is read.
class CommitReader::Sums {
 public:
  // The record begins with a header, which is longer than the digest.
  explicit Sums(absl::string_view record)
      : record_(record), digested_(record.size() - kDigestSize) {}

  // To be called with positions that never decrease.
  void AddUpTo(size_t position) {
    while (position >= end_ && end_ < record_.size()) AddPiece();
  }

  // To be called at the end of the record.
  uint32_t crc32() const { return crc32_; }
  uint64_t digest() const { return digest_.value(); }

 private:
  static constexpr size_t kPiece = size_t{256} << 10;

  void AddPiece() {
    const absl::string_view piece = record_.substr(end_, kPiece);
    crc32_ = Crc32(crc32_, AsBytes(piece));
    // The digest is not of itself.
    if (end_ < digested_) digest_.Add(piece.substr(0, digested_ - end_));
    end_ += piece.size();
  }

  const absl::string_view record_;
  const size_t digested_;
  size_t end_ = 0;
  uint32_t crc32_ = 0;
  PiecewiseHash digest_;
};

CommitReader::CommitReader(absl::string_view payload, uint64_t payload_offset,
                           uint64_t key_hash, uint32_t crc32)
    : payload_(payload),
      payload_offset_(payload_offset),
      key_hash_(key_hash),
      crc32_(crc32),
      in_(payload) {}

CommitReader::CommitReader(CommitReader&&) noexcept = default;
CommitReader& CommitReader::operator=(CommitReader&&) noexcept = default;
CommitReader::~CommitReader() = default;

absl::StatusOr<CommitHeader> CommitReader::ReadHeader(
    absl::string_view payload) {
  WireReader in(payload);
  return ParseHeader(in);
}

absl::StatusOr<CommitReader> CommitReader::Open(absl::string_view payload,
                                                uint64_t payload_offset,
                                                uint64_t key_hash,
                                                uint32_t crc32) {
  CommitReader reader(payload, payload_offset, key_hash, crc32);
  VARVE_ASSIGN_OR_RETURN(reader.header_, ParseHeader(reader.in_));
  if (reader.header_.version > kRecordVersion) {
    return absl::UnimplementedError(absl::StrCat(
        "the store was written by a newer version of varve (record version ",
        reader.header_.version, ", this program knows ", kRecordVersion,
        "); use that version or a later one"));
  }
  if (reader.header_.next_ino > kMaxId ||
      reader.header_.next_data_id > kMaxId) {
    return DamageError("the commit record's header has an impossible number");
  }
  return reader;
}

bool CommitReader::HasValidDigest(absl::string_view payload) {
  if (payload.size() < kDigestSize) return false;
  WireReader in(payload.substr(payload.size() - kDigestSize));
  return in.U8() == kDigest && in.U8() == sizeof(uint64_t) &&
         in.U64() == HashKey(payload.substr(0, payload.size() - kDigestSize));
}

absl::StatusOr<std::optional<Change>> CommitReader::Next() {
  std::optional<Change> change(std::in_place);
  VARVE_ASSIGN_OR_RETURN(const bool more, Next(*change));
  if (!more) change.reset();
  return change;
}

void CommitReader::VerifyAsRead() { sums_ = std::make_unique<Sums>(payload_); }

absl::Status CommitReader::VerifyDigest() {
  // 9 bytes are left: its size and the digest itself.
  bool valid = in_.rest().size() == kDigestSize - 1;
  if (valid && sums_ == nullptr) {
    valid = HasValidDigest(payload_);
  } else if (valid) {
    sums_->AddUpTo(payload_.size() - 1);
    valid = in_.U8() == sizeof(uint64_t) && in_.U64() == sums_->digest();
  }
  if (!valid) {
    in_.Fail();
    return DamageError(absl::StrCat("the digest of commit ", header_.sequence,
                                    " is not its own"));
  }
  in_.Bytes(in_.rest().size());
  return absl::OkStatus();
}

absl::Status CommitReader::VerifyChecksum() const {
  if (sums_ == nullptr) return absl::OkStatus();
  sums_->AddUpTo(payload_.size() - 1);
  if (sums_->crc32() == crc32_) return absl::OkStatus();
  return DamageError(absl::StrCat("commit ", header_.sequence,
                                  " does not match its checksum"));
}

absl::StatusOr<bool> CommitReader::Next(Change& change) {
  if (in_.at_end()) {
    if (!in_.ok()) return DamageError("malformed commit record");
    VARVE_RETURN_IF_ERROR(VerifyChecksum());
    return false;
  }
  if (sums_ != nullptr) sums_->AddUpTo(position());
  const uint8_t kind = in_.U8();
  if (kind == kDigest) {
    VARVE_RETURN_IF_ERROR(VerifyDigest());
    VARVE_RETURN_IF_ERROR(VerifyChecksum());
    return false;
  }
  WireReader body(in_.SizedBytes());
  if (!in_.ok()) {
    return DamageError(
        absl::StrCat("a change in commit ", header_.sequence, " is cut short"));
  }
  if (!Decode(kind, body, change)) {
    return absl::UnimplementedError(absl::StrCat(
        "commit ", header_.sequence, " holds a change of the unknown kind ",
        kind, ": a newer version of varve wrote it and is needed to write"));
  }
  if (!body.ok()) {
    return DamageError(absl::StrCat("malformed change (kind ", kind,
                                    ") in commit ", header_.sequence));
  }
  return true;
}

bool CommitReader::Decode(uint8_t kind, WireReader& in, Change& change) const {
  // The rest of the body, as a name.
  const auto name = [&in] {
    const absl::string_view result = in.rest();
    if (!IsValidName(result)) in.Fail();
    return result;
  };
  switch (kind) {
    case kPutInode:
      DecodeInode(header_.time, in, change.emplace<PutInode>());
      return true;
    case kDropInode:
      change.emplace<DropInode>().ino = in.Varint();
      return true;
    case kPutName: {
      PutName& put = change.emplace<PutName>();
      put.parent = in.Varint();
      put.ino = in.Varint();
      put.name = name();
      return true;
    }
    case kDropName: {
      DropName& drop = change.emplace<DropName>();
      drop.parent = in.Varint();
      drop.name = name();
      return true;
    }
    case kSetContent: {
      SetContent& set = change.emplace<SetContent>();
      set.ino = in.Varint();
      DecodeExtents(in, set.extents);
      return true;
    }
    case kPatchContent: {
      PatchContent& patch = change.emplace<PatchContent>();
      patch.ino = in.Varint();
      DecodeExtents(in, patch.extents);
      return true;
    }
    case kSetXattr:
      DecodeXattr(in, change.emplace<SetXattr>());
      return true;
    case kDropXattr: {
      DropXattr& drop = change.emplace<DropXattr>();
      drop.ino = in.Varint();
      drop.name = in.rest();
      return true;
    }
    case kKeepUnfinished: {
      KeepUnfinished& keep = change.emplace<KeepUnfinished>();
      keep.begin = in.Varint();
      keep.end = in.Varint();
      return true;
    }
    default:
      return false;
  }
}

void CommitReader::DecodeExtents(WireReader& in, ExtentList& extents) const {
  // Holes take little room in a record and much in memory. Of so many, with no
  // data in between, no writer can have known.
  constexpr int kMostHoles = 1 << 22;
  int holes = 0;
  while (in.ok() && !in.at_end()) {
    Extent& e = extents.emplace_back();
    const uint8_t kind = in.U8();
    holes = kind == kHole ? holes + 1 : 0;
    if (holes > kMostHoles) in.Fail();
    e.file_offset = in.Varint();
    e.length = in.Varint();
    if (kind == kHole) {
      e.store_offset = Extent::kHole;
    } else if (kind == kInline) {
      const absl::string_view bytes = in.Bytes(e.length);
      e.entry_offset = in.ok() ? bytes.data() - payload_.data() : 0;
      e.store_offset = payload_offset_ + e.entry_offset;
      e.key_hash = key_hash_;
      e.entry_size = payload_.size();
      e.entry_crc32 = crc32_;
    } else if (kind == kData || kind == kWholeEntry || kind == kShared) {
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
    } else {
      in.Fail();
    }
    if (e.length == 0 || e.length > kMaxFileSize ||
        e.file_offset > kMaxFileSize - e.length) {
      in.Fail();
    }
  }
}

}  // namespace varve::fs
