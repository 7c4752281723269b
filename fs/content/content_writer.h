// ContentWriter: gathers what is written to open files and commits it.
//
// Bytes gather in memory, per file. A file that gathers more than some MiB, or
// any file once all together exceed the budget, is spilled: its bytes go to the
// store through a stream, and become part of the file with its next commit. How
// content is laid out in the store by a commit is described in
// docs/rationale.md ("How a file lies in the store").

#ifndef VARVE_FS_CONTENT_CONTENT_WRITER_H_
#define VARVE_FS_CONTENT_CONTENT_WRITER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "fs/content/content_reader.h"
#include "fs/content/copy_gate.h"
#include "fs/content/open_files.h"
#include "fs/log/commit.h"
#include "fs/log/content_key.h"
#include "fs/log/core.h"

namespace varve::fs {

// A part of an entry, at `store_offset`, as an extent.
Extent ExtentIn(const EntryLocation& entry, uint64_t store_offset,
                uint64_t file_offset, uint64_t length);

// Thread-safe.
class ContentWriter {
 public:
  // The references must outlive this. Long copies go through `copy_gate`.
  // `budget` bounds the dirty bytes in memory.
  ContentWriter(Core& core, ContentReader& reader, CopyGate& copy_gate,
                uint64_t budget)
      : core_(core), reader_(reader), copy_gate_(copy_gate), budget_(budget) {}

  // Each of these makes the file dirty and its times `now`. Errors leave the
  // file as it was.
  absl::Status Write(OpenInode& open, uint64_t offset, absl::string_view bytes,
                     Timestamp now) ABSL_LOCKS_EXCLUDED(open.mu);
  // At the end of the file, wherever that is by then; returns the offset.
  absl::StatusOr<uint64_t> Append(OpenInode& open, absl::string_view bytes,
                                  Timestamp now) ABSL_LOCKS_EXCLUDED(open.mu);
  absl::Status Truncate(OpenInode& open, uint64_t size, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Truncates what is committed, and commits that; what is dirty is truncated,
  // too, and stays dirty: its writer says when it is complete.
  absl::Status TruncateCommitted(OpenInode& open, uint64_t size, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status Punch(OpenInode& open, uint64_t offset, uint64_t length,
                     Timestamp now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Changes nothing but the times.
  absl::Status Touch(OpenInode& open, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status Share(OpenInode& open, const std::vector<Extent>& extents,
                     Timestamp now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);

  // Like Commit(), for one of possibly many closes: a file that was emptied and
  // not yet written to is left for the last close. A shell that redirects into
  // a file closes a descriptor of it before the program has written anything,
  // and a crash must not leave the file empty then.
  absl::Status CommitUnlessEmptied(OpenInode& open)
      ABSL_LOCKS_EXCLUDED(open.mu);
  // Commits what is dirty, as one commit. Nothing happens for a file that has
  // no name any more.
  absl::Status Commit(OpenInode& open) ABSL_LOCKS_EXCLUDED(open.mu);
  absl::Status CommitLocked(OpenInode& open)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);

  // Gives a file that has no name its first one, as part of the commit of what
  // was written to it. `check` is called before, with the tree locked, and has
  // to say whether that may be.
  absl::Status CommitWithName(OpenInode& open, uint64_t parent,
                              absl::string_view name,
                              const std::function<absl::Status()>& check)
      ABSL_LOCKS_EXCLUDED(open.mu);

  // Writes a file of many pieces as one plain entry again, if that pays.
  absl::Status MakePlainIfDue(OpenInode& open) ABSL_LOCKS_EXCLUDED(open.mu);
  // Writes a file of very many, tiny extents anew, with small holes filled:
  // each extent takes memory as long as the file is there. Copies no more than
  // a few KiB for each extent that is gone then. `closing`: nobody else has the
  // file open.
  absl::Status JoinExtentsIfDue(OpenInode& open, bool closing)
      ABSL_LOCKS_EXCLUDED(open.mu);

  // Forgets what is dirty.
  void Discard(OpenInode& open) ABSL_LOCKS_EXCLUDED(open.mu);

  uint64_t dirty_bytes() const { return dirty_bytes_.load(); }

 private:
  // A file with more dirty bytes than this in memory is spilled.
  static constexpr uint64_t kMaxFileMemory = uint64_t{4} << 20;

  // What a commit of content has to know of the inode.
  struct Target {
    Attributes attributes;
    uint64_t data_bytes = 0;     // that are not holes
    bool was_plain = false;      // one whole entry
    Extent old_entry;            // if so
    bool old_is_newest = false;  // of its key, as far as is known
    uint64_t path_hash = 0;
    // A file without a name that is given one: its name, and what else of it is
    // not in the store yet.
    uint64_t new_parent = 0;
    absl::string_view new_name = {};
    std::vector<std::pair<std::string, std::string>> new_xattrs = {};
  };
  // How pieces end up in the store.
  struct Layout {
    ExtentList extents;  // of entries, and holes
    std::vector<const DirtyContent::Pieces::value_type*> inlined;
  };

  // Starts the dirty content from the committed one.
  absl::Status Prepare(OpenInode& open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Bytes in a range that are not holes, those behind the end left out.
  absl::StatusOr<uint64_t> DataIn(OpenInode& open, uint64_t begin, uint64_t end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  void Finished(OpenInode& open, uint64_t memory_before, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Remembers why a write failed that must not be left out of a commit; returns
  // `status`.
  absl::Status NoteWrite(OpenInode& open, absl::Status status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status WriteLocked(OpenInode& open, uint64_t offset,
                           absl::string_view bytes, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Joins tiny pieces that lie close to each other, if there are very many.
  // Where the bytes between them cannot be read, they stay.
  void JoinPiecesIfDue(OpenInode& open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  bool JoinPieces(OpenInode& open, ContentReader::Range range)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status Spill(OpenInode& open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::StatusOr<std::unique_ptr<Stream>> BeginStream()
      ABSL_LOCKS_EXCLUDED(core_.commit_mu);
  absl::StatusOr<Stream*> StreamOf(OpenInode& open)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);

  absl::Status PrepareCommit(OpenInode& open)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  void Committed(OpenInode& open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  static void AddInode(fs::Commit& commit, const PutInode& put,
                       const Target& target);
  // Nothing for one without a name.
  absl::StatusOr<std::optional<Target>> FindTarget(uint64_t ino)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu);
  // Of a file that is to get its first name.
  absl::StatusOr<Target> FindUnnamedTarget(uint64_t ino, uint64_t parent,
                                           absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu)
          ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status CommitTo(OpenInode& open, const Target& target)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu, core_.commit_mu);
  std::optional<Extent> PlainExtent(OpenInode& open, const Target& target,
                                    fs::Commit& commit, std::string& buffer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu, core_.commit_mu);
  // Whether the file will take less space than before, by a small commit.
  bool FreesSpace(OpenInode& open, const Target& target)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  bool StreamIsWholeFile(OpenInode& open)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // The first bytes of what is in the stream and not sealed; nothing if they
  // cannot be read.
  std::optional<std::string> HeadOfStream(const Stream& stream) const;
  Layout LayOut(OpenInode& open, fs::Commit& commit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu, core_.commit_mu);
  void AddTombstoneIfNewest(fs::Commit& commit, const Target& target);
  // The file if it has a name, and content that is not one whole entry.
  absl::StatusOr<std::optional<LiveInode>> FindInPieces(uint64_t ino) const
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Whether a file that has no holes holds nothing but zeros.
  absl::StatusOr<bool> HoldsOnlyZeros(OpenInode& open, uint64_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Copies these ranges of a file, which have all its bytes, to a stream, and
  // commits that as its content; as a plain entry if it is one range.
  absl::Status Rewrite(OpenInode& open,
                       const std::vector<ContentReader::Range>& ranges,
                       uint64_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status CopyAndCommit(OpenInode& open,
                             const std::vector<ContentReader::Range>& ranges,
                             uint64_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // For an entry that begins with `head`; see DataKeyFor().
  uint64_t NewDataKeyHash(absl::string_view head = {}) {
    return DataKeyFor(
        core_.identity, [this] { return core_.NewDataId(); }, head);
  }

  Core& core_;
  ContentReader& reader_;
  CopyGate& copy_gate_;
  const uint64_t budget_;
  std::atomic<uint64_t> dirty_bytes_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_CONTENT_WRITER_H_
