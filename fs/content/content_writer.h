// ContentWriter: gathers what is written to open files, and commits it.
//
// Dirty bytes are kept in memory, per file. If a file has more than some MiB,
// or all files together exceed the budget, the file is spilled: its bytes go to
// the store through a stream, and become part of the file with its next commit.
// docs/rationale.md ("How a file lies in the store") says how a commit lays out
// content.

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

// The part of an entry at `store_offset` as an extent.
Extent ExtentIn(const EntryLocation& entry, uint64_t store_offset,
                uint64_t file_offset, uint64_t length);

// Thread-safe.
class ContentWriter {
 public:
  // The references must outlive the writer. Long copies go through `copy_gate`.
  // `budget` is the limit of dirty bytes in memory. `now` gives the times of
  // commits.
  ContentWriter(Core& core, ContentReader& reader, CopyGate& copy_gate,
                uint64_t budget, std::function<Timestamp()> now)
      : core_(core),
        reader_(reader),
        copy_gate_(copy_gate),
        budget_(budget),
        now_(std::move(now)) {}

  // Each of the functions up to Share() makes the file dirty and sets its times
  // to `now`. On an error, the file is as it was.
  absl::Status Write(OpenInode& open, uint64_t offset, absl::string_view bytes,
                     Timestamp now) ABSL_LOCKS_EXCLUDED(open.mu);
  // Writes at the end of the file at this moment; returns the offset.
  absl::StatusOr<uint64_t> Append(OpenInode& open, absl::string_view bytes,
                                  Timestamp now) ABSL_LOCKS_EXCLUDED(open.mu);
  absl::Status Truncate(OpenInode& open, uint64_t size, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Truncates the committed content, and commits that. Truncates dirty content,
  // too, but does not commit it, because its writer decides when it is
  // complete.
  absl::Status TruncateCommitted(OpenInode& open, uint64_t size, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status Punch(OpenInode& open, uint64_t offset, uint64_t length,
                     Timestamp now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Changes only the times.
  absl::Status Touch(OpenInode& open, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status Share(OpenInode& open, const std::vector<Extent>& extents,
                     Timestamp now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);

  // Like Commit(), but leaves a file that was emptied and not written to since
  // for the last close. A shell that redirects output to a file closes its own
  // descriptor before the program has written anything. A crash at that moment
  // must not leave the file empty.
  absl::Status CommitUnlessEmptied(OpenInode& open)
      ABSL_LOCKS_EXCLUDED(open.mu);
  // Commits the dirty content, as one commit. Does nothing for a file that has
  // no name any more.
  absl::Status Commit(OpenInode& open) ABSL_LOCKS_EXCLUDED(open.mu);
  absl::Status CommitLocked(OpenInode& open)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);

  // Gives a file its first name, in the commit of what was written to it. Calls
  // `check` before, with the tree locked, and fails if that fails.
  absl::Status CommitWithName(OpenInode& open, uint64_t parent,
                              absl::string_view name,
                              const std::function<absl::Status()>& check)
      ABSL_LOCKS_EXCLUDED(open.mu);

  // Rewrites a file of many pieces as one plain entry, if that pays.
  absl::Status MakePlainIfDue(OpenInode& open) ABSL_LOCKS_EXCLUDED(open.mu);
  // Rewrites a file of very many tiny extents with fewer extents, filling small
  // holes, because each extent costs space and time. Copies at most a few KiB
  // for each extent that it saves. `closing` says that nobody else has the file
  // open.
  absl::Status JoinExtentsIfDue(OpenInode& open, bool closing)
      ABSL_LOCKS_EXCLUDED(open.mu);

  // Drops the dirty content.
  void Discard(OpenInode& open) ABSL_LOCKS_EXCLUDED(open.mu);

  uint64_t dirty_bytes() const { return dirty_bytes_.load(); }

 private:
  // A file with more dirty bytes than this in memory is spilled.
  static constexpr uint64_t kMaxFileMemory = uint64_t{4} << 20;

  // What a commit of content needs to know of the inode.
  struct Target {
    Attributes attributes;
    uint64_t data_bytes = 0;  // bytes that are not holes
    // The key hash of its content, if that was one whole entry.
    std::optional<uint64_t> old_key;
    uint64_t path_hash = 0;
    // If the commit gives the file its first name: that name, and the extended
    // attributes, which are not in the store yet.
    uint64_t new_parent = 0;
    absl::string_view new_name = {};
    std::vector<std::pair<std::string, std::string>> new_xattrs = {};
  };
  // How pieces will lie in the store.
  struct Layout {
    ExtentList extents;  // in entries, and holes
    std::vector<const DirtyContent::Pieces::value_type*> inlined;
  };

  // Starts dirty content from the committed content, if there is none yet.
  absl::Status Prepare(OpenInode& open) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // The number of bytes in a range that are not holes, up to the end of the
  // file.
  absl::StatusOr<uint64_t> DataIn(OpenInode& open, uint64_t begin, uint64_t end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  void Finished(OpenInode& open, uint64_t memory_before, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Remembers the failure of a write without which nothing may be committed.
  // Returns `status`.
  absl::Status NoteWrite(OpenInode& open, absl::Status status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status WriteLocked(OpenInode& open, uint64_t offset,
                           absl::string_view bytes, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Joins tiny pieces that lie close to each other, if there are very many.
  // Pieces stay apart if the bytes between them cannot be read.
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
  // Finds the target of a commit; nothing if the inode has no name.
  absl::StatusOr<std::optional<Target>> FindTarget(uint64_t ino)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu);
  // The same for a file that will get its first name.
  absl::StatusOr<Target> FindUnnamedTarget(uint64_t ino, uint64_t parent,
                                           absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu)
          ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status CommitTo(OpenInode& open, const Target& target)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu, core_.commit_mu);
  std::optional<Extent> PlainExtent(OpenInode& open, const Target& target,
                                    fs::Commit& commit, std::string& buffer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu, core_.commit_mu);
  // Whether the file will take less space after the commit, which is small.
  bool FreesSpace(OpenInode& open, const Target& target)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  bool StreamIsWholeFile(OpenInode& open)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // The first bytes of the stream that are not sealed; nothing if they cannot
  // be read.
  std::optional<std::string> HeadOfStream(const Stream& stream) const;
  Layout LayOut(OpenInode& open, fs::Commit& commit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu, core_.commit_mu);
  // Hides what other programs find of the file's committed content, all of
  // which the commit replaces.
  absl::Status HideOldContent(uint64_t ino, fs::Commit& commit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu)
          ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  // The file, if it has a name and its content is not one whole entry; else
  // nothing.
  absl::StatusOr<std::optional<LiveInode>> FindInPieces(uint64_t ino) const
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Whether a file without holes has only zero bytes.
  absl::StatusOr<bool> HoldsOnlyZeros(OpenInode& open, uint64_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // Copies these ranges, which must include all data of the file, to a stream,
  // and commits that as the file's content: as a plain entry if it is one
  // range.
  absl::Status Rewrite(OpenInode& open,
                       const std::vector<ContentReader::Range>& ranges,
                       uint64_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  absl::Status CopyAndCommit(OpenInode& open,
                             const std::vector<ContentReader::Range>& ranges,
                             uint64_t size)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(open.mu);
  // A new key for an entry that begins with `head`; see DataKeyFor().
  uint64_t NewDataKeyHash(absl::string_view head = {}) {
    return DataKeyFor(
        core_.identity, [this] { return core_.NewDataId(); }, head);
  }

  Core& core_;
  ContentReader& reader_;
  CopyGate& copy_gate_;
  const uint64_t budget_;
  const std::function<Timestamp()> now_;
  std::atomic<uint64_t> dirty_bytes_{0};
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_CONTENT_WRITER_H_
