// Records: the entries that hold the tree in the log. A commit holds the
// changes of one operation, a checkpoint holds the whole tree or its root, and
// a segment holds nodes of the tree. docs/format.md specifies the bytes
// ("Commit record"). Only this file and change.h, for the changes, read and
// write them. Not thread-safe.

#ifndef VARVE_FS_FORMAT_COMMIT_RECORD_H_
#define VARVE_FS_FORMAT_COMMIT_RECORD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "fs/format/change.h"
#include "fs/format/wire.h"

namespace varve::fs {

// The version of records that this code writes, and the newest it reads.
inline constexpr uint8_t kRecordVersion = 1;

// A patch up to this size lies inside the record itself.
inline constexpr uint64_t kMaxInlineSize = 4096;

struct CommitHeader {
  static constexpr uint8_t kClean = 1;       // the store was closed after it
  static constexpr uint8_t kCheckpoint = 2;  // holds the whole tree
  static constexpr uint8_t kRoot = 4;        // a checkpoint that leads to nodes
  static constexpr uint8_t kSegment = 8;     // holds nodes, and no changes
  static constexpr uint8_t kKnownFlags = 15;

  uint8_t version = kRecordVersion;
  uint8_t flags = 0;
  uint64_t sequence = 0;  // in a segment: its number
  Timestamp time;
  uint64_t position = 0;      // the offset at which its payload was written
  uint64_t batch_begin = 0;   // tail of the store before this commit's entries
  uint64_t durable_tail = 0;  // length known to have been synced by then
  uint64_t next_ino = 0;      // neither id was ever used before
  uint64_t next_data_id = 0;
  uint64_t checkpoint = 0;  // metadata offset of the checkpoint it builds on; 0
                            // for none

  bool clean() const { return (flags & kClean) != 0; }
  bool is_checkpoint() const { return (flags & kCheckpoint) != 0; }
  bool has_root() const { return (flags & kRoot) != 0; }
  bool is_segment() const { return (flags & kSegment) != 0; }
  bool is_commit() const { return !is_checkpoint() && !is_segment(); }
};

// Builds the payload of one record.
class CommitWriter {
 public:
  explicit CommitWriter(const CommitHeader& header);

  // Allocates memory for a record of about so many bytes.

  // Ends the record with a digest of everything in it. Must be called once,
  // last.
  void AddDigest();

  void Add(const Change& change);
  // For a checkpoint with the flag kRoot: adds the encoded root.
  void AddRoot(absl::string_view root);
  // For a segment: adds nodes, one after the other.
  void AddNodes(absl::string_view nodes) {
    payload_.append(nodes.data(), nodes.size());
  }
  // Adds a patch whose bytes lie in the record itself, and returns their offset
  // in the payload.
  size_t AddInline(uint64_t ino, uint64_t file_offset, absl::string_view bytes);

  const std::string& payload() const { return payload_; }

 private:
  void AddBody(uint8_t kind, absl::string_view body);

  CommitHeader header_;
  std::string payload_;
  std::string scratch_;
};

// Reads one record, change by change.
class CommitReader {
 public:
  // `payload` must outlive the reader and the changes that it returns.
  // `payload_offset`, `key_hash` and `crc32` are the entry's; the reader needs
  // them to return bytes inside the record as extents of the store. DATA_LOSS
  // if `payload` is not a record; UNIMPLEMENTED if it needs a newer version of
  // the program or has unknown flags.
  static absl::StatusOr<CommitReader> Open(absl::string_view payload,
                                           uint64_t payload_offset,
                                           uint64_t key_hash, uint32_t crc32);

  CommitReader(CommitReader&&) noexcept;
  CommitReader& operator=(CommitReader&&) noexcept;
  ~CommitReader();

  // For a record that nobody has verified; must be called before the first
  // Next(). The reader then computes the entry's checksum while it reads, and
  // returns DATA_LOSS instead of the end if it does not match. So a large
  // record is fetched from memory once and not three times: for the checksum,
  // for the changes and for the digest.
  void VerifyAsRead();

  // Reads just the header. For a record of a newer version, sets only the
  // fields up to the sequence number.
  static absl::StatusOr<CommitHeader> ReadHeader(absl::string_view payload);

  const CommitHeader& header() const { return header_; }
  // The encoded root of a checkpoint with the flag kRoot, or the nodes of a
  // segment. Neither has changes.
  absl::string_view body() const { return body_; }
  size_t payload_size() const { return record_.payload.size(); }

  // Whether the payload ends with the digest of all bytes before it. Looks at
  // nothing else of its form.
  static bool HasValidDigest(absl::string_view payload);

  // The next change, or nothing at the end. DATA_LOSS for a malformed change.
  // UNIMPLEMENTED for a kind that this version does not know; the next call
  // continues behind it.
  absl::StatusOr<std::optional<Change>> Next();
  // Decodes the next change into `change`, which is faster for many changes.
  // Returns false at the end.
  absl::StatusOr<bool> Next(Change& change);

 private:
  CommitReader(absl::string_view payload, uint64_t payload_offset,
               uint64_t key_hash, uint32_t crc32);

  class Sums;

  // How many bytes of the record have been read.
  size_t position() const { return payload_size() - in_.rest().size(); }
  absl::Status ReadBody();
  absl::Status VerifyDigest();
  absl::Status VerifyChecksum() const;

  RecordContext record_;
  WireReader in_;
  CommitHeader header_;
  absl::string_view body_;
  std::unique_ptr<Sums> sums_;  // set by VerifyAsRead()
};

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_COMMIT_RECORD_H_
