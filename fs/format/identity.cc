#include "fs/format/identity.h"

#include <sys/random.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "fs/base/error.h"
#include "fs/format/wire.h"

namespace varve::fs {
namespace {

constexpr uint32_t kMagic = 0x31495256;  // "VRI1"
constexpr uint32_t kFormatVersion = 2;

template <size_t N>
absl::string_view AsText(const std::array<uint8_t, N>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), N};
}

template <size_t N>
void FillRandomly(std::array<uint8_t, N>& bytes) {
  // The kernel never shortens or interrupts a request of up to 256 bytes.
  if (getrandom(bytes.data(), N, 0) != static_cast<ssize_t>(N)) std::abort();
}

// Whether mending could take one for the other.
bool IsNearly(uint64_t key_hash, uint64_t other) {
  return std::popcount(key_hash ^ other) <= 1;
}

// The finalizer of MurmurHash3 (Austin Appleby), which mixes 64 bits so that
// each depends on all others, and what undoes it. The second pair of factors is
// the inverse of the first one, modulo 2^64.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
  return x ^ (x >> 33);
}

uint64_t Unmix(uint64_t x) {
  x = (x ^ (x >> 33)) * 0x9cb4b2f8129337db;
  x = (x ^ (x >> 33)) * 0x4f74430c22a54005;
  return x ^ (x >> 33);
}

// The halves of the secret.
struct Halves {
  explicit Halves(const Identity& identity) {
    std::memcpy(&first, identity.secret.data(), 8);
    std::memcpy(&second, identity.secret.data() + 8, 8);
  }
  uint64_t first;
  uint64_t second;
};

constexpr int kKindShift = 56;

uint64_t ReservedHash(const Identity& identity, KeyKind kind, uint64_t number) {
  const Halves halves(identity);
  const uint64_t key = (static_cast<uint64_t>(kind) << kKindShift) ^ number;
  return Mix(Mix(key ^ halves.first) ^ halves.second);
}

}  // namespace

Identity Identity::Make(Timestamp now) {
  Identity identity;
  FillRandomly(identity.uuid);
  FillRandomly(identity.secret);
  identity.uuid[6] = (identity.uuid[6] & 0x0f) | 0x40;  // RFC 4122, version 4
  identity.uuid[8] = (identity.uuid[8] & 0x3f) | 0x80;
  identity.created = now;
  return identity;
}

std::string Identity::Encode() const {
  std::string payload;
  WireWriter out(&payload);
  out.U32(kMagic);
  out.U32(kFormatVersion);
  out.Bytes(AsText(uuid));
  out.Bytes(AsText(secret));
  out.U64(created.packed());
  out.U64(features);
  if (least_length.has_value()) out.U64(*least_length);
  return payload;
}

absl::StatusOr<Identity> Identity::Decode(absl::string_view payload) {
  Identity identity;
  WireReader in(payload);
  const uint32_t magic = in.U32();
  const uint32_t version = in.U32();
  const absl::string_view uuid = in.Bytes(16);
  const absl::string_view secret = in.Bytes(16);
  identity.created = Timestamp::FromPacked(in.U64());
  identity.features = in.U64();
  if (payload.size() >= kLongSize) identity.least_length = in.U64();
  if (!in.ok() || magic != kMagic) {
    return DamageError("the store's identity is malformed");
  }
  if (version < kFormatVersion) {
    return absl::UnimplementedError(
        "the store was written by an early version of Varve, which this one "
        "cannot read any more: copy the files out with that version");
  }
  if (version != kFormatVersion || identity.features != 0) {
    return absl::UnimplementedError(absl::StrCat(
        "the store's tree has format version ", version, " with features ",
        identity.features, "; this program knows version ", kFormatVersion,
        " without features: use a newer varve"));
  }
  std::memcpy(identity.uuid.data(), uuid.data(), 16);
  std::memcpy(identity.secret.data(), secret.data(), 16);
  return identity;
}

std::string Identity::UuidText() const {
  const std::string hex = absl::BytesToHexString(AsText(uuid));
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-",
                      hex.substr(12, 4), "-", hex.substr(16, 4), "-",
                      hex.substr(20));
}

uint64_t Identity::CommitKeyHash(uint64_t sequence) const {
  return ReservedHash(*this, KeyKind::kCommit, sequence);
}

uint64_t Identity::DataKeyHash(uint64_t id) const {
  return ReservedHash(*this, KeyKind::kData, id);
}

uint64_t Identity::CheckpointKeyHash() const {
  return ReservedHash(*this, KeyKind::kCheckpoint, 0);
}

uint64_t Identity::SegmentKeyHash(uint64_t number) const {
  return ReservedHash(*this, KeyKind::kSegment, number);
}

uint64_t Identity::NameSeed() const {
  return HashKey(absl::StrCat(AsText(secret), "s"));
}

uint64_t Identity::IndexImageKeyHash() const {
  return ReservedHash(*this, KeyKind::kIndexImage, 0);
}

uint64_t Identity::SumsKeyHash(uint64_t key_hash) const {
  return ContentKeys(key_hash).sums_key_hash.value();
}

EntryKeys Identity::ContentKeys(uint64_t key_hash) const {
  const std::optional<uint64_t> data_id = DataIdOf(key_hash);
  if (data_id.has_value()) {
    return {key_hash, ReservedHash(*this, KeyKind::kBlockSums, *data_id),
            /*sums_key_reserved=*/true};
  }
  std::string sums_key(AsText(secret));
  WireWriter out(&sums_key);
  out.U8(static_cast<uint8_t>(KeyKind::kBlockSums));
  out.U64(key_hash);
  return {key_hash, HashKey(sums_key)};
}

std::optional<ReservedKey> Identity::AsReservedKey(uint64_t key_hash) const {
  const Halves halves(*this);
  const uint64_t key = Unmix(Unmix(key_hash) ^ halves.second) ^ halves.first;
  const ReservedKey reserved = {
      .kind = static_cast<KeyKind>(key >> kKindShift),
      .number = key & ((uint64_t{1} << kKindShift) - 1)};
  uint64_t limit = 0;
  switch (reserved.kind) {
    case KeyKind::kBlockSums:
    case KeyKind::kCommit:
    case KeyKind::kData:
    case KeyKind::kSegment:
      limit = kMostNumbers;
      break;
    case KeyKind::kCheckpoint:
    case KeyKind::kIndexImage:
      limit = 1;
      break;
  }
  if (reserved.number >= limit) return std::nullopt;
  return reserved;
}

std::optional<uint64_t> Identity::DataIdOf(uint64_t key_hash) const {
  const std::optional<ReservedKey> key = AsReservedKey(key_hash);
  if (!key.has_value() || key->kind != KeyKind::kData) return std::nullopt;
  return key->number;
}

bool Identity::IsDataKey(uint64_t key_hash, uint64_t next_data_id) const {
  const std::optional<uint64_t> id = DataIdOf(key_hash);
  return id.has_value() && *id < next_data_id;
}

bool Identity::WouldBeRecord(uint64_t key_hash, absl::string_view head) const {
  const std::optional<uint64_t> summed = BlockSums::DataKeyIn(head);
  if (summed.has_value()) return key_hash == SumsKeyHash(*summed);
  const absl::StatusOr<CommitHeader> header = CommitReader::ReadHeader(head);
  return header.ok() && IsNearly(key_hash, KeyHashFor(*header));
}

bool Identity::Reserves(uint64_t key_hash, absl::string_view head) const {
  static const uint64_t identity_hash = HashKey(Key());
  if (IsNearly(key_hash, identity_hash) ||
      IsNearly(key_hash, CheckpointKeyHash()) ||
      IsNearly(key_hash, IndexImageKeyHash()) ||
      AsReservedKey(key_hash).has_value()) {
    return true;
  }
  return WouldBeRecord(key_hash, head);
}

uint64_t Identity::KeyHashFor(const CommitHeader& header) const {
  if (header.is_segment()) return SegmentKeyHash(header.sequence);
  return header.is_checkpoint() ? CheckpointKeyHash()
                                : CommitKeyHash(header.sequence);
}

bool Identity::LooksLikeOne(absl::string_view payload) {
  return (payload.size() == kEncodedSize || payload.size() == kLongSize) &&
         WireReader(payload).U32() == kMagic;
}

std::optional<CommitHeader> Identity::AsCommit(const EntryView& entry) const {
  if (entry.is_tombstone()) return std::nullopt;
  const absl::StatusOr<CommitHeader> header =
      CommitReader::ReadHeader(entry.payload_text());
  if (!header.ok()) return std::nullopt;
  if (KeyHashFor(*header) != entry.key_hash()) return std::nullopt;
  return *header;
}

bool Identity::IsBlockSums(const EntryView& entry) const {
  if (entry.is_tombstone()) return false;
  const std::optional<uint64_t> summed =
      BlockSums::DataKeyIn(entry.payload_text());
  return summed.has_value() && SumsKeyHash(*summed) == entry.key_hash();
}

uint64_t KeyHashOfPath(absl::string_view path) {
  const uint64_t hash = HashKey(path);
  if (hash != HashKey(Identity::Key())) return hash;
  return HashKey(absl::StrCat(Identity::Key(), path));
}

}  // namespace varve::fs
