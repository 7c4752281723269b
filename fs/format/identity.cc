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
constexpr uint32_t kFormatVersion = 1;

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

uint64_t ReservedHash(const Identity& identity, char kind, uint64_t number) {
  char key[16 + 1 + 8];
  std::memcpy(key, identity.secret.data(), 16);
  key[16] = kind;
  std::memcpy(key + 17, &number, 8);
  return HashKey(absl::string_view(key, sizeof(key)));
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
  return ReservedHash(*this, 'c', sequence);
}

uint64_t Identity::DataKeyHash(uint64_t id) const {
  return ReservedHash(*this, 'd', id);
}

uint64_t Identity::CheckpointKeyHash() const {
  return HashKey(absl::StrCat(AsText(secret), "k"));
}

uint64_t Identity::SegmentKeyHash(uint64_t number) const {
  return ReservedHash(*this, 'n', number);
}

uint64_t Identity::NameSeed() const {
  return HashKey(absl::StrCat(AsText(secret), "s"));
}

uint64_t Identity::IndexImageKeyHash() const {
  return HashKey(absl::StrCat(AsText(secret), "i"));
}

bool Identity::Reserves(uint64_t key_hash, absl::string_view head) const {
  static const uint64_t identity_hash = HashKey(Key());
  if (IsNearly(key_hash, identity_hash) ||
      IsNearly(key_hash, CheckpointKeyHash()) ||
      IsNearly(key_hash, IndexImageKeyHash())) {
    return true;
  }
  const absl::StatusOr<CommitHeader> header = CommitReader::ReadHeader(head);
  return header.ok() && IsNearly(key_hash, KeyHashFor(*header));
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

uint64_t KeyHashOfPath(absl::string_view path) {
  const uint64_t hash = HashKey(path);
  if (hash != HashKey(Identity::Key())) return hash;
  return HashKey(absl::StrCat(Identity::Key(), path));
}

}  // namespace varve::fs
