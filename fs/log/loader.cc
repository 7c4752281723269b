#include "fs/log/loader.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "engine/io/bus_guard.h"
#include "fs/base/error.h"
#include "fs/format/change_pipe.h"
#include "fs/format/commit_record.h"
#include "fs/log/checkpoint.h"
#include "fs/log/moments.h"
#include "fs/log/root_reader.h"
#include "fs/log/store_identity.h"
#include "fs/log/tree_root.h"

namespace varve::fs {
namespace {

// Records of at least this size are decoded by a thread of their own, and
// verified in the same pass.
constexpr size_t kLargeRecord = size_t{1} << 20;

// A commit or checkpoint found in the chain.
struct Record {
  CommitHeader header;
  EntryLocation location;

  bool in_place() const { return header.position == location.payload_offset; }
};

class Loader {
 public:
  Loader(Core& core, LoadMode mode)
      : core_(core),
        store_(*core.store),
        lenient_(mode == LoadMode::kWhatIsLeft) {}

  absl::StatusOr<LoadResult> Load() ABSL_LOCKS_EXCLUDED(core_.commit_mu);

 private:
  // Loads from the newest checkpoint that is not known to be damaged.
  absl::Status LoadOnce();
  // Called after LoadOnce() has failed. Marks its checkpoint as damaged, and
  // returns whether there may be another to load from.
  bool PassOverCheckpoint();
  absl::Status FindRecords();
  absl::Status WalkChain(bool whole);
  // The offset below which no commit is needed if the tree is loaded from
  // `checkpoint`.
  uint64_t LogBeginOf(const EntryView& checkpoint) const;
  absl::Status LoadRoot(const Record& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu, core_.tree_mu);
  // DATA_LOSS if a node of the tree cannot be read.
  absl::Status ReadAll() const ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Updates the extents of all files of a relocated store to where they lie
  // now.
  absl::Status ResolveContent()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu, core_.tree_mu);
  absl::Status Replay(const Record& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu, core_.tree_mu);
  absl::Status ApplyChanges(const Record& record, bool verified)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu, core_.tree_mu);
  // The record to start from: the newest checkpoint, or the first commit.
  size_t FirstRecord() const;
  bool IsDamaged(const EntryLocation& checkpoint) const {
    return damaged_.contains(checkpoint.metadata_offset());
  }
  // Whether to go on in spite of `status`. If so, adds it to the notes.
  bool GoOn(const absl::Status& status);
  // Whether an entry that looks like a record lies among the entries that the
  // record seen last, which is later in the file, was appended with. Then it is
  // content that imitates a record.
  bool LiesInBatchOfNewest(const EntryLocation& location) const;
  void NoteDataId(const EntryLocation& entry);
  // During a walk along the whole chain: notes what is needed of an entry that
  // is not a record if the store is relocated.
  void NoteEntry(const EntryView& entry, bool record_follows);
  // Notes the keys that the change's extents name and, in a relocated store,
  // updates the extents to where they lie now.
  void LookAtExtents(Change& change);
  // Finds where an extent lies now. Returns whether that has changed.
  bool Resolve(Extent& extent) const;

  Core& core_;
  Store& store_;
  const bool lenient_;
  // Metadata offsets of checkpoints that were found to be damaged.
  absl::flat_hash_set<uint64_t> damaged_;
  LoadResult result_;
  std::vector<Record> records_;
  // Entries that are not the newest of their key, but that extents may mean all
  // the same. Maps key hash, size and checksum to the metadata offset.
  using Described = std::tuple<uint64_t, uint64_t, uint32_t>;
  absl::flat_hash_map<Described, uint64_t> superseded_;
  absl::flat_hash_set<uint64_t> dropped_data_ids_;  // that have a tombstone
};

void Loader::NoteDataId(const EntryLocation& entry) {
  const std::optional<uint64_t> id = core_.identity.DataIdOf(entry.key_hash);
  if (!id.has_value()) return;
  // Entries come newest first.
  if (entry.is_tombstone) {
    dropped_data_ids_.insert(*id);
  } else if (!dropped_data_ids_.contains(*id)) {
    result_.data_ids.push_back(*id);
  }
}

void Loader::NoteEntry(const EntryView& entry, bool record_follows) {
  const uint64_t key_hash = entry.key_hash();
  const std::optional<uint64_t> newest =
      store_.Find(EntryKey::OfHash(key_hash));
  if (!entry.is_tombstone()) {
    const uint64_t offset = entry.location().metadata_offset();
    if (newest != offset) {
      superseded_.emplace(Described(key_hash, entry.size(), entry.checksum()),
                          offset);
    }
  } else if (!record_follows && !newest.has_value()) {
    // A tombstone of ours would be followed by the record that it belongs to,
    // and our compaction leaves none.
    result_.deleted.insert(key_hash);
  }
}

absl::Status Loader::WalkChain(bool whole) {
  records_.clear();
  result_.behind.clear();
  result_.data_ids.clear();
  dropped_data_ids_.clear();
  bool record_follows = false;   // a record that lies where it says
  std::optional<uint64_t> stop;  // nothing below this offset is needed
  bool has_checkpoint = false;
  const uint64_t image_key = core_.identity.IndexImageKeyHash();
  return store_.ForEachInChain([&](const EntryView& entry) {
    if (stop.has_value() && !whole && entry.location().end() <= *stop) {
      return false;
    }
    const std::optional<CommitHeader> header = core_.identity.AsCommit(entry);
    // It is content of a file, and only looks like a record.
    if (header.has_value() && LiesInBatchOfNewest(entry.location())) {
      return true;
    }
    if (!header.has_value()) {
      // An image of the index may follow the last record; it is not unfinished
      // work.
      if (records_.empty() && entry.key_hash() != image_key) {
        result_.behind.push_back(entry.location());
      }
      NoteDataId(entry.location());
      if (whole) NoteEntry(entry, record_follows);
      return true;
    }
    if (header->is_segment()) return true;
    records_.push_back({*header, entry.location()});
    record_follows |= records_.back().in_place();
    // If the record is of a newer version, replaying it reports that.
    if (header->version > kRecordVersion) return true;
    if (!records_.back().in_place()) result_.relocated = true;
    // Another program's compaction may happen to leave the last records where
    // they were, but hardly the first entry, too.
    if (header->is_checkpoint() && header->batch_begin == 0) {
      const absl::StatusOr<EntryView> identity = FindIdentityEntry(store_);
      result_.relocated |= identity.ok() && identity->location().prev_tail > 0;
    }
    if (header->is_checkpoint()) {
      if (!has_checkpoint && !IsDamaged(entry.location())) {
        has_checkpoint = true;
        stop = LogBeginOf(entry);
      }
    } else if (!stop.has_value() && !damaged_.contains(header->checkpoint)) {
      stop = header->checkpoint;
    }
    return true;
  });
}

uint64_t Loader::LogBeginOf(const EntryView& checkpoint) const {
  const uint64_t before = checkpoint.location().prev_tail;
  const auto root = ReadRoot(checkpoint);
  // If the root is damaged, LoadRoot() reports that.
  return root.ok() ? std::min(root->log_begin, before) : before;
}

absl::Status Loader::LoadRoot(const Record& record) {
  VARVE_RETURN_IF_ERROR(store_.Verify(record.location));
  VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                         store_.EntryEndingAt(record.location.end()));
  VARVE_ASSIGN_OR_RETURN(TreeRoot root, ReadRoot(entry));
  if (result_.relocated) FindSegments(store_, core_.identity, root);
  VARVE_ASSIGN_OR_RETURN(
      core_.log_tree, LogTree::Open(&store_, root, core_.identity.NameSeed()));
  result_.first_data_id = root.first_data_id;
  core_.latest_time = root.time;
  // A repair has to know now whether the whole tree can be read, because the
  // checkpoint before is still an alternative.
  if (lenient_) VARVE_RETURN_IF_ERROR(ReadAll());
  if (result_.relocated) return ResolveContent();
  core_.checkpoint_before = root.previous;
  core_.snapshots = root.snapshots;
  core_.log_tree->segments.AddRetired(
      SegmentsOnlyBefore(store_, core_.identity, root));
  return absl::OkStatus();
}

absl::Status Loader::ReadAll() const {
  LayeredCursor cursor(&core_.log_tree->live->reader().items());
  absl::Status status = cursor.Seek({});
  while (status.ok() && cursor.valid()) status = cursor.Next();
  return status;
}

absl::Status Loader::ResolveContent() {
  LiveTree& live = *core_.log_tree->live;
  TreeEditor editor = live.Edit();
  absl::Status status;
  VARVE_RETURN_IF_ERROR(live.reader().ForEachInode([&](const InodeItem& inode) {
    SetContent set{.ino = inode.ino};
    bool moves = false;
    status = live.reader().ForEachExtent(inode, 0, kMaxFileSize,
                                         [&](const Extent& extent) {
                                           set.extents.push_back(extent);
                                           moves |= Resolve(set.extents.back());
                                           return true;
                                         });
    if (status.ok() && moves) status = editor.Apply(set, std::nullopt);
    return status.ok();
  }));
  VARVE_RETURN_IF_ERROR(status);
  live.Publish(editor);
  return absl::OkStatus();
}

bool Loader::LiesInBatchOfNewest(const EntryLocation& location) const {
  if (records_.empty()) return false;
  const Record& later = records_.back();
  return later.in_place() && later.header.version <= kRecordVersion &&
         later.header.batch_begin > 0 &&
         location.payload_offset >= later.header.batch_begin;
}

absl::Status Loader::FindRecords() {
  VARVE_RETURN_IF_ERROR(WalkChain(/*whole=*/lenient_));
  if (result_.relocated && !lenient_) {
    VARVE_RETURN_IF_ERROR(WalkChain(/*whole=*/true));
  }
  // The order of a relocated store's entries means nothing.
  if (result_.relocated) result_.behind.clear();
  std::sort(records_.begin(), records_.end(),
            [](const Record& a, const Record& b) {
              // A checkpoint has the number of the last commit that it
              // includes.
              return std::pair(a.header.sequence, a.header.is_checkpoint()) <
                     std::pair(b.header.sequence, b.header.is_checkpoint());
            });
  return absl::OkStatus();
}

bool Loader::Resolve(Extent& extent) const {
  if (extent.is_hole()) return false;
  const auto matches = [&](uint64_t metadata_offset) {
    const auto entry = store_.EntryEndingAt(metadata_offset + kMetadataSize);
    return entry.ok() && entry->key_hash() == extent.key_hash &&
           entry->size() == extent.entry_size &&
           entry->checksum() == extent.entry_crc32;
  };
  if (matches(extent.entry_metadata_offset())) return false;
  std::optional<uint64_t> found =
      store_.Find(EntryKey::OfHash(extent.key_hash));
  if (!found.has_value() || !matches(*found)) {
    const auto it = superseded_.find(
        Described(extent.key_hash, extent.entry_size, extent.entry_crc32));
    // If the entry is not there, reading the file reports that.
    if (it == superseded_.end()) return false;
    found = it->second;
  }
  extent.store_offset = *found - extent.entry_size + extent.entry_offset;
  return true;
}

void Loader::LookAtExtents(Change& change) {
  ExtentList* extents = ExtentsOf(change);
  if (extents == nullptr) return;
  for (Extent& extent : *extents) {
    if (result_.relocated) Resolve(extent);
    result_.named.insert(extent.key_hash);
  }
}

absl::Status Loader::Replay(const Record& record) {
  const EntryLocation& location = record.location;
  if (record.header.is_checkpoint()) return LoadRoot(record);
  // A lenient load goes on after damage, so it must verify a record before it
  // applies any change of it.
  if (lenient_ || location.payload_size < kLargeRecord) {
    VARVE_RETURN_IF_ERROR(store_.Verify(location));
    return ApplyChanges(record, /*verified=*/true);
  }
  // Otherwise, damage ends the load, so the record can be verified while its
  // changes are applied.
  const absl::Status applied = ApplyChanges(record, /*verified=*/false);
  if (applied.ok()) return applied;
  // Damaged bytes explain more than the contradiction that they led to.
  const absl::Status intact = store_.Verify(location);
  return intact.ok() ? applied : intact;
}

absl::Status Loader::ApplyChanges(const Record& record, bool verified) {
  const uint64_t offset = record.location.payload_offset;
  VARVE_ASSIGN_OR_RETURN(const Store::PinnedBytes bytes,
                         store_.View(offset, record.location.payload_size));
  VARVE_ASSIGN_OR_RETURN(
      CommitReader reader,
      CommitReader::Open({reinterpret_cast<const char*>(bytes.bytes.data()),
                          bytes.bytes.size()},
                         offset, record.location.key_hash,
                         record.location.crc32));
  bool noted = false;
  if (!verified) reader.VerifyAsRead();
  ChangePipe changes(std::move(reader), kLargeRecord);
  TreeEditor editor(core_.log_tree->live->Edit());
  while (true) {
    const absl::StatusOr<Change*> next = changes.Next();
    if (!next.ok()) {
      // A read-only mount may ignore changes that it does not know; a writer
      // must not.
      if (!absl::IsUnimplemented(next.status()) || !store_.read_only()) {
        return next.status();
      }
      // Note it once; a record may hold many such changes.
      if (!std::exchange(noted, true)) {
        result_.notes.push_back(std::string(next.status().message()));
      }
      continue;
    }
    if (*next == nullptr) break;
    Change& change = **next;
    LookAtExtents(change);
    // A number that is taken must not be drawn again, whatever the header says.
    if (const auto* put = std::get_if<PutInode>(&change)) {
      core_.next_ino = std::max(core_.next_ino, put->ino + 1);
    }
    const absl::Status applied = editor.Apply(change, record.header.time);
    if (!applied.ok() && !GoOn(applied)) return applied;
  }
  core_.log_tree->live->Publish(editor);
  return absl::OkStatus();
}

bool Loader::GoOn(const absl::Status& status) {
  if (!lenient_ || !absl::IsDataLoss(status)) return false;
  result_.notes.push_back(std::string(status.message()));
  return true;
}

size_t Loader::FirstRecord() const {
  for (size_t i = records_.size(); i > 0; --i) {
    const Record& record = records_[i - 1];
    if (record.header.is_checkpoint() && !IsDamaged(record.location) &&
        (!lenient_ || store_.Verify(record.location).ok())) {
      return i - 1;
    }
  }
  return 0;
}

// Skips a damaged checkpoint: the one before it and the commits since give the
// same tree.
absl::StatusOr<LoadResult> Loader::Load() {
  absl::Status first;
  while (true) {
    result_ = {};
    const absl::Status status = LoadOnce();
    if (status.ok()) {
      result_.rebuilt = !damaged_.empty();
      if (result_.rebuilt) {
        result_.notes.push_back(
            absl::StrCat(first.message(),
                         "; the tree was read from an older checkpoint and "
                         "the commits since"));
      }
      return std::move(result_);
    }
    if (first.ok()) first = status;
    if (!absl::IsDataLoss(status) || !PassOverCheckpoint()) return first;
  }
}

bool Loader::PassOverCheckpoint() {
  if (records_.empty()) return false;
  const Record& record = records_[FirstRecord()];
  // The checkpoint that was loaded, or the one that the newest commit names but
  // that was not found.
  const uint64_t offset = record.header.is_checkpoint()
                              ? record.location.metadata_offset()
                              : records_.back().header.checkpoint;
  if (offset == 0 || !damaged_.insert(offset).second) return false;
  absl::MutexLock commit_lock(&core_.commit_mu);
  absl::MutexLock lock(&core_.tree_mu);
  core_.log_tree = nullptr;
  core_.last_sequence = 0;
  core_.checkpoint = core_.checkpoint_before = 0;
  core_.log_bytes = 0;
  core_.snapshots.clear();
  return true;
}

absl::Status Loader::LoadOnce() {
  VARVE_RETURN_IF_ERROR(FindRecords());
  absl::MutexLock commit_lock(&core_.commit_mu);
  absl::MutexLock tree_lock(&core_.tree_mu);
  uint64_t next_data_id = 1;
  VARVE_RETURN_IF_ERROR(ResetLogTree(core_));
  const size_t first = FirstRecord();
  for (size_t i = first; i < records_.size(); ++i) {
    const Record& record = records_[i];
    const CommitHeader& header = record.header;
    // Skip a damaged checkpoint: the commits before it say the same.
    if (i > first && header.is_checkpoint()) continue;
    const uint64_t expected =
        header.is_checkpoint() ? header.sequence : core_.last_sequence + 1;
    if (header.sequence != expected) {
      const absl::Status missing = DamageError(
          absl::StrCat("commit ", expected,
                       " is missing from the store (the next one found is ",
                       header.sequence, ")"));
      if (!GoOn(missing)) return missing;
    }
    const absl::Status replayed =
        Annotate(Replay(record),
                 absl::StrCat(header.is_checkpoint() ? "checkpoint" : "commit",
                              " ", header.sequence, " at offset ",
                              record.location.payload_offset));
    // A checkpoint that cannot be read is not loaded in part: an older one may
    // give the whole tree.
    if (!replayed.ok() && (header.is_checkpoint() || !GoOn(replayed))) {
      return replayed;
    }
    core_.last_sequence = header.sequence;
    core_.next_ino = std::max(core_.next_ino, header.next_ino);
    next_data_id = std::max(next_data_id, header.next_data_id);
    if (header.is_checkpoint()) {
      core_.checkpoint = record.location.metadata_offset();
      core_.log_bytes = 0;
    } else {
      core_.log_bytes += record.location.size_on_disk();
      core_.latest_time = std::max(core_.latest_time, header.time);
    }
    result_.clean = header.clean();
  }
  core_.next_data_id.store(next_data_id);
  core_.clean = result_.clean;
  // Nobody knows where another program has moved past moments.
  if (result_.relocated) return absl::OkStatus();
  const absl::Status found = FindSnapshotLocations(core_);
  if (!absl::IsDataLoss(found)) return found;
  // A damaged node costs what is in it, and not the whole tree.
  core_.log_tree->segments.NoteDamage(found);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadResult> LoadTree(Core& core, LoadMode mode) {
  absl::StatusOr<LoadResult> result = Loader(core, mode).Load();
  // If the file was truncated or its disk fails, the mapping shows zeros. Then
  // report that, and not what the zeros were taken for.
  Store& store = *core.store;
  VARVE_RETURN_IF_ERROR(store.CheckLength(store.tail()));
  VARVE_ASSIGN_OR_RETURN(const Store::PinnedBytes all,
                         store.View(0, store.tail()));
  if (!HasLostBytes(all.bytes)) return result;
  // The unreadable bytes may be content or the newest commits. Writing on
  // without those commits would destroy them.
  const std::string message = absl::StrCat(
      store.path(), " cannot be read everywhere; its disk may be failing");
  if (!store.read_only()) return DamageError(message);
  if (result.ok()) result->notes.push_back(message);
  return result;
}

}  // namespace varve::fs
