#include "fs/log/checkpoint.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/status.h"
#include "fs/btree/merge.h"
#include "fs/format/commit_record.h"
#include "fs/log/commit.h"
#include "fs/log/moments.h"
#include "fs/log/segment_writer.h"
#include "fs/log/store_identity.h"
#include "fs/tree/tree_editor.h"

namespace varve::fs {
namespace {

// Bytes that an inode and its name take in the nodes, about.
constexpr uint64_t kBytesPerInode = 100;
// And an extent of a file in pieces.
constexpr uint64_t kBytesPerExtent = 40;
// Logs shorter than this are replayed quickly enough in any case.
constexpr uint64_t kMinLogBytes = uint64_t{1} << 20;
// Logs should not become longer than this: opening a store that was not closed
// takes as long as replaying its log.
constexpr uint64_t kMaxLogBytes = uint64_t{16} << 20;
// Replaying so much takes some ten milliseconds.
constexpr uint64_t kMaxMomentLogBytes = uint64_t{128} << 10;
// An image is due once a sixteenth of all keys are new. It takes 16 bytes for
// each key, so each new entry costs 256 bytes in images, about as much as the
// entry itself.
constexpr uint64_t kImageShare = 16;

bool BeginsWithIdentity(const Store& store) {
  for (const size_t size : {Identity::kEncodedSize, Identity::kLongSize}) {
    const auto first = store.EntryEndingAt(size + kMetadataSize);
    if (first.ok() && first->location().prev_tail == 0 &&
        first->key_hash() == HashKey(Identity::Key())) {
      return true;
    }
  }
  return false;
}

// The header of a checkpoint that will be appended at `end`.
CommitHeader CheckpointHeader(Core& core, Timestamp now, uint64_t end)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  // A batch that begins at 0 says that the identity is the first entry; see
  // docs/format.md.
  CommitHeader header =
      NewHeader(core, now, BeginsWithIdentity(*core.store) ? 0 : end);
  header.flags = CommitHeader::kCheckpoint;
  header.position = Align64(end);
  header.checkpoint = 0;
  return header;
}

// What a checkpoint holds: the tree at one moment.
struct Moment {
  std::shared_ptr<LogTree> tree;
  uint64_t sequence = 0;
  uint64_t log_bytes = 0;
  TreeRoot root;
};

// Moves access times that are only in memory into the tree.
absl::Status AddAccessTimes(Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.tree_mu) {
  if (core.accessed.empty()) return absl::OkStatus();
  LiveTree& live = *core.log_tree->live;
  TreeEditor editor = live.Edit();
  for (const auto& [ino, time] : core.accessed) {
    VARVE_ASSIGN_OR_RETURN(const auto inode, editor.reader().FindInode(ino));
    if (!inode.has_value()) continue;
    PutInode put{.ino = ino, .attributes = inode->attributes};
    put.attributes.atime = time;
    VARVE_RETURN_IF_ERROR(editor.Apply(put, std::nullopt));
  }
  live.Publish(editor);
  core.accessed.clear();
  return absl::OkStatus();
}

absl::StatusOr<Moment> Freeze(Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
        ABSL_LOCKS_EXCLUDED(core.tree_mu) {
  absl::MutexLock lock(&core.tree_mu);
  VARVE_RETURN_IF_ERROR(AddAccessTimes(core));
  Moment moment;
  moment.tree = core.log_tree;
  moment.sequence = core.last_sequence;
  moment.log_bytes = core.log_bytes;
  moment.root.log_begin = core.store->tail();
  moment.root.first_data_id = core.next_data_id.load();
  moment.root.previous = core.checkpoint;
  moment.root.time = core.latest_time;
  moment.root.snapshots = core.snapshots;
  core.log_tree->live->Freeze();
  return moment;
}

// Undoes Freeze() after a checkpoint has failed.
void TakeBack(Core& core, const Moment& moment)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu) {
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::MutexLock lock(&core.tree_mu);
  moment.tree->live->Thaw();
}

// Appends the last segment, and a checkpoint that names the root. Returns the
// segments that the tree has now, given those that it had `before`.
absl::StatusOr<std::vector<Segment>> AppendRoot(
    Core& core, Timestamp now, const std::vector<Segment>& before,
    Moment& moment, SegmentWriter& segments)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  VARVE_RETURN_IF_ERROR(MarkInUse(core, now));
  Batch batch = core.store->BeginBatch();
  uint64_t end = segments.AddLast(batch);
  for (const Segment& segment : before) {
    // Only the checkpoint before the last needed a retired segment, and that
    // checkpoint is now older still.
    if (!segment.is_retired()) continue;
    // The tombstone makes compactions of other programs leave the segment out,
    // too.
    const uint64_t key = core.identity.SegmentKeyHash(segment.number);
    end = batch.AddTombstone(key).end();
  }
  const std::string identity = core.identity.Encode();
  if (BeginsWithIdentity(*core.store)) {
    // Without the identity nothing of the tree can be recognized, so it must
    // not lie in the first page alone.
    end = batch.Add(HashKey(Identity::Key()), AsBytes(identity)).end();
  }
  std::vector<Segment> after = segments.Update(before);
  TreeRoot& root = moment.root;
  std::copy_if(after.begin(), after.end(), std::back_inserter(root.segments),
               [](const Segment& segment) { return !segment.is_retired(); });
  root.next_segment = segments.next_segment();
  CommitHeader header = CheckpointHeader(core, now, end);
  header.flags |= CommitHeader::kRoot;
  header.sequence = moment.sequence;
  // The place of a snapshot of this very moment is the checkpoint itself, and
  // not known yet. A reader finds it there.
  std::erase_if(root.snapshots, [&moment](const MomentLocation& snapshot) {
    return snapshot.sequence == moment.sequence;
  });
  CommitWriter writer(header);
  writer.AddRoot(EncodeTreeRoot(root));
  writer.AddDigest();
  const EntryLocation location =
      batch.Add(core.identity.CheckpointKeyHash(), AsBytes(writer.payload()));
  VARVE_RETURN_IF_ERROR(batch.Commit());
  core.checkpoint_before =
      std::exchange(core.checkpoint, location.metadata_offset());
  for (MomentLocation& snapshot : core.snapshots) {
    if (snapshot.sequence != moment.sequence) continue;
    snapshot.checkpoint = core.checkpoint;
    snapshot.end = root.log_begin;
  }
  core.log_bytes -= moment.log_bytes;
  core.clean = false;  // the commit that says so is no longer the newest record
  return after;
}

// Appends the root of a tree that a checkpoint has merged, and updates the
// tree's segments.
absl::Status AppendMergedRoot(Core& core, Timestamp now, Moment& moment,
                              SegmentWriter& segments)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  NodeSegments& known = moment.tree->segments;
  const std::vector<Segment> before = known.All();
  VARVE_ASSIGN_OR_RETURN(const std::vector<Segment> after,
                         AppendRoot(core, now, before, moment, segments));
  for (const Segment& segment : after) known.Add(segment);
  for (const Segment& segment : before) {
    if (segment.is_retired()) known.Remove(segment.number);
  }
  return absl::OkStatus();
}

// Writes all of the tree, and a checkpoint that shares no node with another.
// Nobody else uses it.
absl::Status WriteWholeTree(Core& core, Timestamp now, ItemSource items,
                            Moment& moment, uint32_t next_segment)
    ABSL_LOCKS_EXCLUDED(core.commit_mu) {
  SegmentWriter segments(core, now, next_segment);
  VARVE_ASSIGN_OR_RETURN(const auto root, BuildTree(items, &segments));
  // There is one always: the tree has its totals.
  moment.root.root = *root;
  absl::MutexLock commit_lock(&core.commit_mu);
  moment.root.previous = core.checkpoint;
  moment.root.segments.clear();
  return AppendRoot(core, now, /*before=*/{}, moment, segments).status();
}

}  // namespace

absl::Status ResetLogTree(Core& core) {
  VARVE_ASSIGN_OR_RETURN(
      core.log_tree,
      LogTree::Open(core.store.get(), std::nullopt, core.identity.NameSeed()));
  return absl::OkStatus();
}

bool PurgeNeedsCheckpoint(Core& core) {
  uint64_t before = 0;
  absl::MutexLock commit_lock(&core.commit_mu);
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    const auto purged = core.reader().PurgedPaths();
    if (!purged.ok()) return false;
    for (const PurgedPath& path : *purged) {
      before = std::max(before, path.before);
    }
  }
  if (before == 0 || core.checkpoint == 0) return before != 0;
  const auto last = ReadCheckpoint(*core.store, core.identity, core.checkpoint);
  return last.ok() && last->header.sequence < before;
}

bool CheckpointIsDue(Core& core) {
  if (PurgeNeedsCheckpoint(core)) return true;
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::ReaderMutexLock lock(&core.tree_mu);
  const TreeTotals& totals = core.log_tree->live->totals();
  const uint64_t size =
      totals.inodes * kBytesPerInode + totals.extents * kBytesPerExtent;
  return core.log_bytes > std::clamp(size, kMinLogBytes, kMaxLogBytes);
}

bool MomentNeedsCheckpoint(Core& core) {
  absl::MutexLock lock(&core.commit_mu);
  return core.log_bytes > kMaxMomentLogBytes;
}

absl::Status WriteCheckpoint(Core& core, Timestamp now) {
  return WriteCheckpointOf(core, now, [] { return true; });
}

absl::Status WriteCheckpointOf(
    Core& core, Timestamp now,
    absl::FunctionRef<absl::StatusOr<bool>()> commit) {
  absl::MutexLock checkpoint_lock(&core.checkpoint_mu);
  Moment moment;
  {
    absl::MutexLock lock(&core.commit_mu);
    VARVE_ASSIGN_OR_RETURN(const bool has_made_one, commit());
    if (!has_made_one) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(moment, Freeze(core));
  }
  LogTree& tree = *moment.tree;
  SegmentWriter segments(core, now, tree.next_segment);
  // A node that is written anew gets a new checksum. So that damaged bytes do
  // not get one, a new reader compares each node that goes into it with its
  // checksum once more.
  const NodeReader nodes(&tree.segments);
  const auto root = MergeOverlay(StoredTree(&nodes, tree.live->stored().root()),
                                 tree.live->frozen(), &segments);
  absl::Status status = root.status();
  Overlay garbage;
  if (status.ok()) {
    // There is one always: the tree has its totals.
    moment.root.root = **root;
    absl::MutexLock commit_lock(&core.commit_mu);
    status = AppendMergedRoot(core, now, moment, segments);
    if (status.ok()) {
      absl::MutexLock lock(&core.tree_mu);
      tree.live->Install(*root, &garbage);
    }
  }
  {
    // Numbers of segments that were written may not be used again, even if the
    // checkpoint failed.
    absl::MutexLock lock(&core.tree_mu);
    tree.next_segment = segments.next_segment();
  }
  if (!status.ok()) {
    TakeBack(core, moment);
    return status;
  }
  absl::MutexLock commit_lock(&core.commit_mu);
  // Not before the checkpoint: the first entry appended to a store that was
  // closed properly must be a record.
  return WriteIndexImageIfDue(core);
}

absl::Status WriteFirstCheckpoints(Core& core, Timestamp now,
                                   ItemSource items) {
  Moment moment;
  {
    absl::MutexLock lock(&core.commit_mu);
    core.checkpoint = core.checkpoint_before = 0;  // in the other store
    VARVE_ASSIGN_OR_RETURN(moment, Freeze(core));
  }
  VARVE_RETURN_IF_ERROR(
      WriteWholeTree(core, now, items, moment, /*next_segment=*/1));
  std::vector<Segment> segments_before = moment.root.segments;
  VARVE_RETURN_IF_ERROR(
      WriteWholeTree(core, now, items, moment, moment.root.next_segment));
  {
    absl::MutexLock lock(&core.tree_mu);
    VARVE_ASSIGN_OR_RETURN(
        core.log_tree,
        LogTree::Open(core.store.get(), moment.root, core.identity.NameSeed()));
    core.log_tree->segments.AddRetired(std::move(segments_before));
  }
  absl::MutexLock commit_lock(&core.commit_mu);
  core.log_bytes = 0;
  return WriteIndexImageIfDue(core);
}

absl::Status WriteIndexImageIfDue(Core& core) {
  // An index that is not in use needs no image.
  const uint64_t since = core.store->entries_since_image();
  if (since < core.min_entries_for_image ||
      since < core.store->size() / kImageShare) {
    return absl::OkStatus();
  }
  return core.store->WriteIndexImage(core.identity.IndexImageKeyHash());
}

}  // namespace varve::fs
