// Records: the entries in which the tree lies in the log. A commit holds the
// changes of one operation, a checkpoint all of the tree or the root of it, and
// a segment nodes of it. The bytes are specified in docs/format.md ("Commit
// record"); this is their only code, with change.h, which has those of the
// changes.

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
  uint64_t sequence = 0;  // of a segment: its number
  Timestamp time;
  uint64_t position = 0;  // where the record was written: its payload's offset
  uint64_t batch_begin = 0;   // tail of the store before this commit's entries
  uint64_t durable_tail = 0;  // length known to have been synced by then
  uint64_t next_ino = 0;      // neither ever used before
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

  // Makes room for a record of about so many bytes.
  void Reserve(size_t size) { payload_.reserve(size); }

  // Ends the record with a digest of all that is in it. Once, at the end.
  void AddDigest();

  void Add(const Change& change);
  // Of a checkpoint with the flag kRoot: the encoded root.
  void AddRoot(absl::string_view root);
  // Of a segment: nodes, one behind the other.
  void AddNodes(absl::string_view nodes) {
    payload_.append(nodes.data(), nodes.size());
  }
  // Adds a patch whose bytes lie in the record itself, and returns where they
  // are, as an offset in the payload.
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
  // `payload` must outlive the reader and the changes it gives out.
  // `payload_offset`, `key_hash` and `crc32` are those of the entry, so that
  // extents inside the record can be given as extents of the store. DATA_LOSS
  // if it is not a record; UNIMPLEMENTED if it needs a newer version of the
  // program, or has flags that are not known.
  static absl::StatusOr<CommitReader> Open(absl::string_view payload,
                                           uint64_t payload_offset,
                                           uint64_t key_hash, uint32_t crc32);

  CommitReader(CommitReader&&) noexcept;
  CommitReader& operator=(CommitReader&&) noexcept;
  ~CommitReader();

  // For a record that nobody has verified, before the first Next(): it is
  // compared with its entry's checksum while it is read, and in the place of
  // its end there is DATA_LOSS if that is another one. A large one comes from
  // memory once then; verified before, and its digest at the end, thrice.
  void VerifyAsRead();

  // Just the header. Of a record of a newer version, only the fields up to the
  // sequence number are set.
  static absl::StatusOr<CommitHeader> ReadHeader(absl::string_view payload);

  const CommitHeader& header() const { return header_; }
  // Of a checkpoint with the flag kRoot: the encoded root. Of a segment: its
  // nodes. Neither has changes.
  absl::string_view body() const { return body_; }
  size_t payload_size() const { return record_.payload.size(); }

  // Whether the whole record, whose form is not looked at otherwise, ends with
  // a digest that is that of the rest.
  static bool HasValidDigest(absl::string_view payload);

  // The next change, or nothing at the end. DATA_LOSS for a malformed change.
  // UNIMPLEMENTED for a kind that this version does not know; the next call
  // goes on behind it.
  absl::StatusOr<std::optional<Change>> Next();
  // The same into a change that is there already, which is quicker for many:
  // whether there was another one.
  absl::StatusOr<bool> Next(Change& change);

 private:
  CommitReader(absl::string_view payload, uint64_t payload_offset,
               uint64_t key_hash, uint32_t crc32);

  class Sums;

  // How much of the record has been read.
  size_t position() const { return payload_size() - in_.rest().size(); }
  absl::Status ReadBody();
  absl::Status VerifyDigest();
  absl::Status VerifyChecksum() const;

  RecordContext record_;
  WireReader in_;
  CommitHeader header_;
  absl::string_view body_;
  std::unique_ptr<Sums> sums_;  // if it is verified as it is read
};

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_COMMIT_RECORD_H_
