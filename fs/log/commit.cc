#include "fs/log/commit.h"

#include <errno.h>

#include <algorithm>
#include <cassert>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/author.h"
#include "fs/base/error.h"
#include "fs/log/moments.h"

namespace varve::fs {

Extent ExtentOf(const EntryLocation& entry) {
  return {.file_offset = 0,
          .length = entry.payload_size,
          .store_offset = entry.payload_offset,
          .key_hash = entry.key_hash,
          .entry_offset = 0,
          .entry_size = entry.payload_size,
          .entry_crc32 = entry.crc32};
}

CommitHeader NewHeader(Core& core, Timestamp time, uint64_t begin) {
  CommitHeader header;
  header.sequence = core.last_sequence;
  header.time = time;
  header.batch_begin = begin;
  header.durable_tail = core.store->durable_tail();
  header.next_ino = core.next_ino;
  header.next_data_id = core.next_data_id.load();
  header.checkpoint = core.checkpoint;
  return header;
}

absl::Status NumbersUsedUp() {
  return SystemError(ENOSPC,
                     "the store has no more numbers for files and content; "
                     "copy its files to a new store");
}

absl::Status MarkInUse(Core& core, Timestamp time) {
  if (!core.clean) return absl::OkStatus();
  core.clean = false;
  Commit commit(core, time);
  commit.UseReserve();  // for what follows may be a deletion
  absl::Status status = commit.Finish();
  core.clean = !status.ok();
  return status;
}

namespace {

// Updates the orphans for changes that are about to be applied to the tree. An
// inode that loses its last name while in use becomes an orphan; an orphan that
// gets a name ceases to be one.
absl::Status MoveOrphans(Core& core, const std::vector<Change>& changes,
                         Timestamp time)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.tree_mu) {
  absl::Status status;
  for (const Change& change : changes) {
    if (const auto* drop = std::get_if<DropInode>(&change)) {
      if (core.is_in_use != nullptr && core.is_in_use(drop->ino)) {
        const auto at = core.accessed.find(drop->ino);
        status.Update(core.orphans.Adopt(core.reader(), drop->ino, time,
                                         at == core.accessed.end()
                                             ? std::nullopt
                                             : std::optional(at->second)));
      }
      core.accessed.erase(drop->ino);
    } else if (const auto* put = std::get_if<PutInode>(&change)) {
      // The change itself says what the access time is.
      core.accessed.erase(put->ino);
      core.linkable.erase(put->ino);
      core.orphans.Remove(put->ino);
    }
  }
  return status;
}

}  // namespace

Commit::Commit(Core& core, Timestamp time, Stream* stream)
    : core_(core),
      status_(MarkInUse(core, time)),
      batch_(core.store->BeginBatch(stream)),
      header_(NewHeader(core, time, batch_.begin())) {
  ++header_.sequence;
}

std::optional<EntryLocation> Commit::FinishStream(uint64_t key_hash) {
  const std::optional<EntryLocation> location =
      batch_.FinishStream(core_.identity.ContentKeys(key_hash));
  if (location.has_value()) has_entries_ = true;
  return location;
}

Extent Commit::AddEntry(uint64_t key_hash,
                        absl::Span<const absl::Span<const std::byte>> pieces) {
  assert(!writer_.has_value());
  const EntryLocation location =
      batch_.Add(core_.identity.ContentKeys(key_hash), pieces);
  has_entries_ = true;
  return ExtentOf(location);
}

void Commit::AddTombstone(const EntryKeys& keys) {
  assert(!writer_.has_value());
  batch_.AddTombstone(keys);
}

CommitWriter& Commit::writer() {
  if (!writer_.has_value()) {
    // All entries have been added, so the record's own offset is known, and all
    // ids are drawn.
    header_.position = Align64(batch_.end());
    header_.next_data_id = core_.next_data_id.load();
    writer_.emplace(header_);
  }
  return *writer_;
}

void Commit::AddAuthor() {
  if (std::exchange(has_author_, true)) return;
  const std::optional<Author> author = ScopedAuthor::Current();
  if (!author.has_value()) return;
  const std::string process =
      author->pid == 0 ? "" : NameOfProcess(author->pid);
  writer().Add(
      NoteAuthor{.uid = author->uid, .pid = author->pid, .process = process});
}

void Commit::Add(const Change& change) {
  AddAuthor();
  writer().Add(change);
}

void Commit::AddInline(uint64_t ino, uint64_t file_offset,
                       absl::string_view bytes) {
  AddAuthor();
  writer().AddInline(ino, file_offset, bytes);
}

absl::Status Commit::CheckNumbers() const {
  const bool out_of_data_ids =
      has_entries_ && core_.next_data_id.load() >= kMaxId;
  if (header_.next_ino > kMaxId || out_of_data_ids) return NumbersUsedUp();
  return absl::OkStatus();
}

absl::Status Commit::Finish() {
  core_.commit_mu.AssertHeld();
  VARVE_RETURN_IF_ERROR(status_);
  VARVE_RETURN_IF_ERROR(CheckNumbers());
  const uint64_t key_hash = core_.identity.CommitKeyHash(header_.sequence);
  writer().AddDigest();
  const EntryLocation location =
      batch_.Add(key_hash, AsBytes(writer().payload()));
  assert(location.payload_offset == header_.position);
  VARVE_ASSIGN_OR_RETURN(const std::vector<Change> changes,
                         ReadChanges(location));
  // Nobody else changes the tree meanwhile: commit_mu is held.
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<TreeEditor> editor,
                         Stage(changes));
  VARVE_RETURN_IF_ERROR(batch_.Commit());
  core_.last_sequence = header_.sequence;
  core_.next_ino = header_.next_ino;
  core_.log_bytes += location.size_on_disk();
  core_.clean = header_.clean();
  core_.latest_time = std::max(core_.latest_time, header_.time);
  ApplyToTree(changes, *editor);
  UpdateSnapshots(changes);
  return absl::OkStatus();
}

void Commit::UpdateSnapshots(const std::vector<Change>& changes) {
  core_.commit_mu.AssertHeld();
  bool renamed = false;
  bool forgotten = false;
  for (const Change& change : changes) {
    renamed |= std::holds_alternative<PutSnapshot>(change) ||
               std::holds_alternative<DropSnapshot>(change);
    forgotten |= std::holds_alternative<ForgetBefore>(change) ||
                 std::holds_alternative<PurgePath>(change);
  }
  if (renamed) {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    core_.log_tree->segments.NoteDamage(FindSnapshotLocations(core_));
  }
  if (renamed || forgotten) core_.moment_changes.fetch_add(1);
}

absl::StatusOr<std::vector<Change>> Commit::ReadChanges(
    const EntryLocation& record) const {
  VARVE_ASSIGN_OR_RETURN(
      CommitReader reader,
      CommitReader::Open(writer_->payload(), record.payload_offset,
                         record.key_hash, record.crc32));
  std::vector<Change> changes;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(std::optional<Change> change, reader.Next());
    if (!change.has_value()) return changes;
    changes.push_back(*std::move(change));
  }
}

absl::StatusOr<std::unique_ptr<TreeEditor>> Commit::Stage(
    const std::vector<Change>& changes) const {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  std::unique_ptr<TreeEditor> editor(
      new TreeEditor(core_.log_tree->live->Edit()));
  for (const Change& change : changes) {
    VARVE_RETURN_IF_ERROR(Annotate(editor->Apply(change, header_.time),
                                   absl::StrCat("commit ", header_.sequence)));
  }
  return editor;
}

void Commit::ApplyToTree(const std::vector<Change>& changes,
                         TreeEditor& editor) {
  absl::MutexLock lock(&core_.tree_mu);
  // This must come before Publish(), which removes the inodes from the tree. If
  // a node has been damaged meanwhile, a deleted file that is still open is
  // lost to its users.
  core_.log_tree->segments.NoteDamage(
      MoveOrphans(core_, changes, header_.time));
  core_.log_tree->live->Publish(editor);
}

absl::Status CommitChanges(Core& core, bool is_orphan,
                           absl::Span<const Change> changes, Timestamp time) {
  if (!is_orphan) {
    Commit commit(core, time);
    for (const Change& change : changes) commit.Add(change);
    return commit.Finish();
  }
  absl::MutexLock lock(&core.tree_mu);
  for (const Change& change : changes) {
    const auto* put = std::get_if<PutInode>(&change);
    if (put != nullptr && !core.orphans.contains(put->ino)) {
      return PosixError(ENOENT);
    }
    VARVE_RETURN_IF_ERROR(core.orphans.Apply(change));
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
