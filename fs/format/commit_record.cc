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

// The size of the last item of a record: kind, size and XXH3.
constexpr size_t kDigestSize = 1 + 1 + 8;

}  // namespace

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
      EncodeChange(change, header_.time, WireWriter(&scratch_));
  AddBody(kind, scratch_);
}

void CommitWriter::AddRoot(absl::string_view root) { AddBody(kRootKind, root); }

size_t CommitWriter::AddInline(uint64_t ino, uint64_t file_offset,
                               absl::string_view bytes) {
  scratch_.clear();
  EncodeInlinePatch(ino, file_offset, bytes, WireWriter(&scratch_));
  AddBody(PatchContent::kKind, scratch_);
  return payload_.size() - bytes.size();
}

void CommitWriter::AddDigest() {
  scratch_.clear();
  WireWriter(&scratch_).U64(HashKey(payload_));
  AddBody(kDigestKind, scratch_);
}

namespace {

absl::StatusOr<CommitHeader> ParseHeader(WireReader& in) {
  CommitHeader header;
  if (in.U32() != kMagic) return DamageError("not a commit record");
  // These fields are the same in all versions, so that any reader can
  // distinguish a record that it cannot read from bytes that are no record.
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

// The checksum and the digest of the bytes that have been read and of some
// bytes beyond, which are then in the cache when they are read.
class CommitReader::Sums {
 public:
  // A record begins with a header, which is longer than the digest.
  explicit Sums(absl::string_view record)
      : record_(record), digested_(record.size() - kDigestSize) {}

  // Positions must not decrease from call to call.
  void AddUpTo(size_t position) {
    while (position >= end_ && end_ < record_.size()) AddPiece();
  }

  // Must be called at the end of the record.
  uint32_t crc32() const { return crc32_; }
  uint64_t digest() const { return digest_.value(); }

 private:
  static constexpr size_t kPiece = size_t{256} << 10;

  void AddPiece() {
    const absl::string_view piece = record_.substr(end_, kPiece);
    crc32_ = Crc32(crc32_, AsBytes(piece));
    // The digest does not cover itself.
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
    : record_{.payload = payload,
              .payload_offset = payload_offset,
              .key_hash = key_hash,
              .crc32 = crc32},
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
  reader.record_.time = reader.header_.time;
  if (reader.header_.next_ino > kMaxId ||
      reader.header_.next_data_id > kMaxId) {
    return DamageError("the commit record's header has an impossible number");
  }
  VARVE_RETURN_IF_ERROR(reader.ReadBody());
  return reader;
}

absl::Status CommitReader::ReadBody() {
  if ((header_.flags & ~CommitHeader::kKnownFlags) != 0) {
    return absl::UnimplementedError(absl::StrCat(
        "the store was written by a newer version of varve (flags ",
        header_.flags, " of a record); use that version or a later one"));
  }
  if (header_.is_segment()) {
    const size_t rest = in_.rest().size();
    body_ = in_.Bytes(rest - std::min(rest, kDigestSize));
  } else if (header_.has_root()) {
    const bool is_root = header_.is_checkpoint() && in_.U8() == kRootKind;
    body_ = in_.SizedBytes();
    if (!is_root || !in_.ok()) {
      return DamageError("a checkpoint does not say where its root is");
    }
  }
  return absl::OkStatus();
}

bool CommitReader::HasValidDigest(absl::string_view payload) {
  if (payload.size() < kDigestSize) return false;
  WireReader in(payload.substr(payload.size() - kDigestSize));
  return in.U8() == kDigestKind && in.U8() == sizeof(uint64_t) &&
         in.U64() == HashKey(payload.substr(0, payload.size() - kDigestSize));
}

absl::StatusOr<std::optional<Change>> CommitReader::Next() {
  std::optional<Change> change(std::in_place);
  VARVE_ASSIGN_OR_RETURN(const bool more, Next(*change));
  if (!more) change.reset();
  return change;
}

void CommitReader::VerifyAsRead() {
  sums_ = std::make_unique<Sums>(record_.payload);
}

absl::Status CommitReader::VerifyDigest() {
  // 9 bytes are left: its size and the digest itself.
  bool valid = in_.rest().size() == kDigestSize - 1;
  if (valid && sums_ == nullptr) {
    valid = HasValidDigest(record_.payload);
  } else if (valid) {
    sums_->AddUpTo(record_.payload.size() - 1);
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
  sums_->AddUpTo(record_.payload.size() - 1);
  if (sums_->crc32() == record_.crc32) return absl::OkStatus();
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
  if (kind == kDigestKind) {
    VARVE_RETURN_IF_ERROR(VerifyDigest());
    VARVE_RETURN_IF_ERROR(VerifyChecksum());
    return false;
  }
  WireReader body(in_.SizedBytes());
  if (!in_.ok()) {
    return DamageError(
        absl::StrCat("a change in commit ", header_.sequence, " is cut short"));
  }
  if (!DecodeChange(kind, record_, body, change)) {
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

}  // namespace varve::fs
