// Commit: one operation on its way into store and tree. Entries are added
// first, then changes; Finish() appends all of it with one write and then
// makes the changes be those of the tree. If anything fails, neither has
// changed.
//
//   Commit commit(core, now);
//   Extent extent = commit.AddEntry(key_hash, bytes);
//   commit.Add(PutInode{...});
//   commit.Add(SetContent{ino, {extent}});
//   return commit.Finish();
//
// The caller holds core.commit_mu, and must have planned the changes against
// the tree as it is under that lock. Not thread-safe.

#ifndef VARVE_FS_LOG_COMMIT_H_
#define VARVE_FS_LOG_COMMIT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/store/store.h"
#include "fs/format/change.h"
#include "fs/format/commit_record.h"
#include "fs/log/core.h"

namespace varve::fs {

// The extent that is all of an entry, at file offset 0.
Extent ExtentOf(const EntryLocation& entry);

// The header of a record that is appended now, as far as that follows from
// `core`; `begin` is that of its batch. Its position is not set.
CommitHeader NewHeader(Core& core, Timestamp time, uint64_t begin)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

// Of a store that has no more numbers for inodes or for data.
absl::Status NumbersUsedUp();

class Commit {
 public:
  // Takes the store's writer lock until the object dies. `stream` as in
  // Store::BeginBatch.
  Commit(Core& core, Timestamp time, Stream* stream = nullptr)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);
  Commit(const Commit&) = delete;
  Commit& operator=(const Commit&) = delete;

  Timestamp time() const { return header_.time; }

  // --- Numbers and entries; before the first change ---

  uint64_t NewIno() { return header_.next_ino++; }

  // Ends the stream as an entry of that key; nothing if it holds no bytes that
  // are not sealed. Before any other entry.
  std::optional<EntryLocation> FinishStream(uint64_t key_hash);
  // Adds an entry, and returns the extent that is all of it, at file offset 0.
  // The bytes must stay valid until Finish() returns.
  Extent AddEntry(uint64_t key_hash,
                  absl::Span<const absl::Span<const std::byte>> pieces);
  void AddTombstone(uint64_t key_hash);

  // --- Changes ---

  void Add(const Change& change);
  // Patches a file with bytes that lie in the record itself.
  void AddInline(uint64_t ino, uint64_t file_offset, absl::string_view bytes);
  void set_flags(uint8_t flags) { header_.flags = flags; }
  // Says that the commit frees space, or is part of what does; see Batch.
  void UseReserve() { batch_.UseReserve(); }

  // The lock that the constructor asks for must still be held; the analysis
  // cannot tell that it is the same one, so this checks when it runs.
  absl::Status Finish();

 private:
  CommitWriter& writer();
  // ENOSPC if the store has run out of numbers for what is to be committed: a
  // record with higher ones could not be read again.
  absl::Status CheckNumbers() const;
  // What the record says, with extents as they will be in the store.
  absl::StatusOr<std::vector<Change>> ReadChanges(
      const EntryLocation& record) const;
  // Works out what becomes of the tree in the log.
  absl::StatusOr<std::unique_ptr<TreeEditor>> Stage(
      const std::vector<Change>& changes) const;
  // Makes it true: it has been appended.
  void ApplyToTree(const std::vector<Change>& changes, TreeEditor& editor);

  Core& core_;
  const absl::Status status_;  // of marking the store as in use
  Batch batch_;
  CommitHeader header_;
  uint64_t end_;  // where the entries added so far end
  bool has_entries_ = false;
  std::optional<CommitWriter> writer_;
};

// Commits these changes of one inode; those of an orphan are made in memory
// alone, and ENOENT if it is one no more.
absl::Status CommitChanges(Core& core, bool is_orphan,
                           absl::Span<const Change> changes, Timestamp time)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
        ABSL_LOCKS_EXCLUDED(core.tree_mu);

// Says that the store is in use again, if its newest commit says that it is
// closed: before the first entry that follows. Without it, what a power cut
// leaves of our own entries would be taken for another program's work. Every
// Commit does so; whoever begins a stream has to.
absl::Status MarkInUse(Core& core, Timestamp time)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_COMMIT_H_
