// Identity: what makes a store the home of a tree. One entry under the key
// "\0varve", written when a tree is first made in a store; and the reserved
// keys, which nobody can produce who does not know the secret in it.

#ifndef VARVE_FS_FORMAT_IDENTITY_H_
#define VARVE_FS_FORMAT_IDENTITY_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/entry/entry.h"
#include "fs/format/commit_record.h"
#include "fs/format/timestamp.h"

namespace varve::fs {

// More ids than these are not tried, which takes some seconds, to tell whether
// hashes are those of their keys.
inline constexpr uint64_t kMaxKnownDataIds = uint64_t{1} << 27;

struct Identity {
  // The key of the identity's own entry. No path has a NUL in it.
  static absl::string_view Key() { return absl::string_view("\0varve", 6); }
  // Bytes of the encoded identity, without and with the least length.
  static constexpr size_t kEncodedSize = 4 + 4 + 16 + 16 + 8 + 8;
  static constexpr size_t kLongSize = kEncodedSize + 8;

  std::array<uint8_t, 16> uuid{};
  std::array<uint8_t, 16> secret{};
  Timestamp created;
  uint64_t features = 0;
  // How long the file has to be at least, if it holds no record: so long it was
  // when it came from a compaction. Nothing where that was never written.
  std::optional<uint64_t> least_length;

  // A new one, with random uuid and secret.
  static Identity Make(Timestamp now);
  std::string Encode() const;
  // DATA_LOSS if it is malformed, UNIMPLEMENTED if it asks for features that
  // this version does not know.
  static absl::StatusOr<Identity> Decode(absl::string_view payload);

  std::string UuidText() const;

  uint64_t CommitKeyHash(uint64_t sequence) const;
  uint64_t DataKeyHash(uint64_t id) const;
  uint64_t CheckpointKeyHash() const;
  uint64_t SegmentKeyHash(uint64_t number) const;
  uint64_t IndexImageKeyHash() const;

  // No header of a record is longer: so much of a payload tells what it is.
  static constexpr size_t kRecordHead = 128;

  // Whether an entry of that key, whose payload begins with `head`, is not to
  // be anything but the tree's own: its key is that of the identity, of
  // checkpoints or of index images, or what it holds would make it a record
  // (`head` is all of the payload, or kRecordHead bytes and more). As mending
  // puts a flipped bit of such a key right, keys that differ from one in a
  // single bit are the tree's, too. Data keys are not looked at.
  bool Reserves(uint64_t key_hash, absl::string_view head) const;

  // The secret seed of the hashes that names are found by.
  uint64_t NameSeed() const;

  // The hash of the reserved key that a record calls for.
  uint64_t KeyHashFor(const CommitHeader& header) const;
  // Whether `payload` begins as an identity does.
  static bool LooksLikeOne(absl::string_view payload);

  // The header of the record in `entry`, if it is one: of the right form, and
  // under the key that its kind and its number call for. The
  // checksum is not looked at.
  std::optional<CommitHeader> AsCommit(const EntryView& entry) const;
};

// The hash of the key of a file with this path. Of the paths whose own hash is
// that of the identity's key it is another one: whoever may choose names must
// not be able to put a file in the place of the identity, or to delete it.
uint64_t KeyHashOfPath(absl::string_view path);

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_IDENTITY_H_
