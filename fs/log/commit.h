// Commit: puts one operation into the store and the tree. The caller adds
// entries first, then changes. Finish() appends all of them with one write, and
// then applies the changes to the tree. If anything fails, neither store nor
// tree has changed.
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

// The extent that consists of the whole entry, at file offset 0.
Extent ExtentOf(const EntryLocation& entry);

// The header of a record that is about to be appended, with the fields that
// `core` determines. `begin` is where the record's batch begins. The position
// is not set.
CommitHeader NewHeader(Core& core, Timestamp time, uint64_t begin)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

// The error of a store that has used up its numbers for inodes or for data.
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
  uint64_t sequence() const { return header_.sequence; }

  // --- Numbers and entries; before the first change ---

  uint64_t NewIno() { return header_.next_ino++; }

  // Ends the stream as an entry with this key. Returns nothing if all bytes of
  // the stream are sealed already. Must come before any other entry.
  std::optional<EntryLocation> FinishStream(uint64_t key_hash);
  // Adds an entry, and returns the extent that consists of it, at file offset
  // 0. The bytes must stay valid until Finish() returns.
  Extent AddEntry(uint64_t key_hash,
                  absl::Span<const absl::Span<const std::byte>> pieces);
  // Hides what lies under the key, and its block sums if there is a key for
  // them (see Identity::KeysToHide).
  void AddTombstone(const EntryKeys& keys);

  // --- Changes ---

  void Add(const Change& change);
  // Patches a file with bytes that the record itself holds.
  void AddInline(uint64_t ino, uint64_t file_offset, absl::string_view bytes);
  void set_flags(uint8_t flags) { header_.flags = flags; }
  // Lets the commit use reserved space, because it frees space or is a step of
  // something that does; see Batch.
  void UseReserve() { batch_.UseReserve(); }

  // Appends the entries and the record, and applies the changes. The caller
  // must still hold the core's commit_mu. The thread-safety analysis cannot
  // tell that this is the lock of the constructor, so Finish() checks it at run
  // time.
  absl::Status Finish();

 private:
  CommitWriter& writer();
  // Says who makes the first change; a record without changes has no author.
  void AddAuthor();
  // ENOSPC if the commit would need numbers beyond the last: a record with
  // higher numbers could not be read again.
  absl::Status CheckNumbers() const;
  // The changes in the record, with extents as they will lie in the store.
  absl::StatusOr<std::vector<Change>> ReadChanges(
      const EntryLocation& record) const;
  // Works out what the changes make of the tree.
  absl::StatusOr<std::unique_ptr<TreeEditor>> Stage(
      const std::vector<Change>& changes) const;
  // Keeps core.snapshots as the tree has them.
  void UpdateSnapshots(const std::vector<Change>& changes);
  // Applies the changes to the tree, once they have been appended.
  void ApplyToTree(const std::vector<Change>& changes, TreeEditor& editor);

  Core& core_;
  const absl::Status status_;  // of marking the store as in use
  Batch batch_;
  CommitHeader header_;
  bool has_entries_ = false;
  bool has_author_ = false;  // if it is known
  std::optional<CommitWriter> writer_;
};

// Commits changes of one inode. Changes of an orphan are made only in memory;
// ENOENT if the inode is no longer an orphan.
absl::Status CommitChanges(Core& core, bool is_orphan,
                           absl::Span<const Change> changes, Timestamp time)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
        ABSL_LOCKS_EXCLUDED(core.tree_mu);

// Appends a commit that marks the store as in use, if its newest commit marks
// it as closed. That must come before any further entry. Otherwise, what a
// power cut leaves of our own entries would be taken for another program's
// work. Every Commit calls this; code that begins a stream or a batch of its
// own must call it.
absl::Status MarkInUse(Core& core, Timestamp time)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_COMMIT_H_
