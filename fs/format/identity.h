// Identity: the entry under the key "\0varve" that marks a store as one that
// holds a tree. It is written when a tree is first made in the store. It holds
// a secret, and only a program that knows the secret can compute the reserved
// keys, under which records lie. Immutable values and free functions:
// thread-safe.

#ifndef VARVE_FS_FORMAT_IDENTITY_H_
#define VARVE_FS_FORMAT_IDENTITY_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/entry/block_sums.h"
#include "engine/entry/entry.h"
#include "fs/format/commit_record.h"
#include "fs/format/timestamp.h"

namespace varve::fs {

// What lies under a reserved key.
enum class KeyKind : uint8_t {
  kBlockSums = 'b',
  kCommit = 'c',
  kCheckpoint = 'k',
  kData = 'd',
  kIndexImage = 'i',
  kSegment = 'n',
};

// A reserved key whose hash is known.
struct ReservedKey {
  KeyKind kind = KeyKind::kData;
  uint64_t number = 0;  // 0 for checkpoints and index images

  friend bool operator==(const ReservedKey&, const ReservedKey&) = default;
};

struct Identity {
  // The key of the identity's own entry. No path has a NUL in it.
  static absl::string_view Key() { return absl::string_view("\0varve", 6); }
  // The size of the encoded identity in bytes, without and with the least
  // length.
  static constexpr size_t kEncodedSize = 4 + 4 + 16 + 16 + 8 + 8;
  static constexpr size_t kLongSize = kEncodedSize + 8;

  std::array<uint8_t, 16> uuid{};
  std::array<uint8_t, 16> secret{};
  Timestamp created;
  uint64_t features = 0;
  // The least length that the file must have if it holds no record: the length
  // that it had when a compaction made it. Nothing if no compaction made it.
  std::optional<uint64_t> least_length;

  // Makes a new identity, with random uuid and secret.
  static Identity Make(Timestamp now);
  std::string Encode() const;
  // DATA_LOSS if it is malformed; UNIMPLEMENTED if it requires features that
  // this version does not know.
  static absl::StatusOr<Identity> Decode(absl::string_view payload);

  std::string UuidText() const;

  uint64_t CommitKeyHash(uint64_t sequence) const;
  uint64_t DataKeyHash(uint64_t id) const;
  uint64_t CheckpointKeyHash() const;
  uint64_t SegmentKeyHash(uint64_t number) const;
  uint64_t IndexImageKeyHash() const;
  // The key of the block sums of an entry of that key: a reserved one if it is
  // that of data. Other keys have none of their own for that, so something else
  // may lie there.
  uint64_t SumsKeyHash(uint64_t key_hash) const;
  // Both, for an entry that holds content of files.
  EntryKeys ContentKeys(uint64_t key_hash) const;
  // Both, for a tombstone that hides an entry of that size; only the first if
  // it is too small to have block sums.
  EntryKeys KeysToHide(uint64_t key_hash, uint64_t entry_size) const {
    return entry_size < kMinSummedSize ? EntryKeys(key_hash)
                                       : ContentKeys(key_hash);
  }

  // The reserved key with that hash: the hashes above are computed by steps
  // that can be undone. Nothing if there is none with a number that a store can
  // reach in years (kMostNumbers); so hardly any other hash, of a path for
  // instance, is taken for that of a reserved key.
  std::optional<ReservedKey> AsReservedKey(uint64_t key_hash) const;
  static constexpr uint64_t kMostNumbers = uint64_t{1} << 40;
  // The id of the data whose key has that hash; nothing as above.
  std::optional<uint64_t> DataIdOf(uint64_t key_hash) const;
  // Whether there is such an id, and it is below `next_data_id`.
  bool IsDataKey(uint64_t key_hash, uint64_t next_data_id) const;

  // At least the size of any record's header. So many bytes of a payload
  // suffice to see whether it is a record.
  static constexpr size_t kRecordHead = 128;

  // Whether an entry with this key whose payload begins with `head` would be a
  // record or block sums. `head` is the whole payload or at least kRecordHead
  // bytes of it. A key that differs in one bit from that of a record counts,
  // because mending would correct that bit.
  bool WouldBeRecord(uint64_t key_hash, absl::string_view head) const;
  // Whether only the tree itself may write such an entry. That is so for
  // records and block sums, for each reserved key, and for keys that differ in
  // one bit from that of the identity, of checkpoints or of index images.
  bool Reserves(uint64_t key_hash, absl::string_view head) const;

  // The secret seed of the hashes by which names are found.
  uint64_t NameSeed() const;

  // The hash of the reserved key under which a record with this header lies.
  uint64_t KeyHashFor(const CommitHeader& header) const;
  // Whether `payload` begins like an identity.
  static bool LooksLikeOne(absl::string_view payload);

  // The header of the record in `entry`. Returns nothing unless the entry has
  // the right form and lies under the key that belongs to its kind and number.
  // Does not look at the checksum.
  std::optional<CommitHeader> AsCommit(const EntryView& entry) const;
  // Whether the entry holds block sums of another one: it begins like some, and
  // lies under the key that it calls for. Does not look at the checksum.
  bool IsBlockSums(const EntryView& entry) const;
};

// The hash of the key of a file with this path. A path whose own hash equals
// that of the identity's key gets another hash, so that a user who chooses
// names cannot put a file in the place of the identity, or delete it.
uint64_t KeyHashOfPath(absl::string_view path);

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_IDENTITY_H_
