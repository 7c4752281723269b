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
#include "fs/log/segment_writer.h"
#include "fs/tree/tree_editor.h"

namespace varve::fs {
namespace {

// Of all nodes about so many bytes are those of an inode and its name.
constexpr uint64_t kBytesPerInode = 100;
// And those of an extent of a file in pieces.
constexpr uint64_t kBytesPerExtent = 40;
// Logs shorter than this are replayed quickly enough in any case.
constexpr uint64_t kMinLogBytes = uint64_t{1} << 20;
// And no log is to be longer: a store that was not closed opens in the time
// that it takes to replay it.
constexpr uint64_t kMaxLogBytes = uint64_t{16} << 20;
// An image takes 16 bytes for each key, so that with one for every so many new
// entries each of these costs 256 bytes, about what it takes anyway.
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

// The header of one that is appended where the store will end by then.
CommitHeader CheckpointHeader(Core& core, Timestamp now, uint64_t end)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  // Says that the identity comes first, as long as it is so: see format.md.
  CommitHeader header =
      NewHeader(core, now, BeginsWithIdentity(*core.store) ? 0 : end);
  header.flags = CommitHeader::kCheckpoint;
  header.position = Align64(end);
  header.checkpoint = 0;
  return header;
}

// What a checkpoint is of: the tree at one moment.
struct Moment {
  std::shared_ptr<LogTree> tree;
  uint64_t sequence = 0;
  uint64_t log_bytes = 0;
  TreeRoot root;
};

// Puts the access times that are in memory alone into the tree.
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

absl::StatusOr<Moment> Freeze(Core& core) ABSL_LOCKS_EXCLUDED(core.commit_mu) {
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::MutexLock lock(&core.tree_mu);
  VARVE_RETURN_IF_ERROR(AddAccessTimes(core));
  Moment moment;
  moment.tree = core.log_tree;
  moment.sequence = core.last_sequence;
  moment.log_bytes = core.log_bytes;
  moment.root.log_begin = core.store->tail();
  moment.root.first_data_id = core.next_data_id.load();
  moment.root.previous = core.checkpoint;
  core.log_tree->live->Freeze();
  return moment;
}

// Of a checkpoint that has failed.
void TakeBack(Core& core, const Moment& moment)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu) {
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::MutexLock lock(&core.tree_mu);
  moment.tree->live->Thaw();
}

// Appends the last of the segments, and a checkpoint that names the root.
// Returns what the tree's segments are, which were `before`.
absl::StatusOr<std::vector<Segment>> AppendRoot(
    Core& core, Timestamp now, const std::vector<Segment>& before,
    Moment& moment, SegmentWriter& segments)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  VARVE_RETURN_IF_ERROR(MarkInUse(core, now));
  Batch batch = core.store->BeginBatch();
  uint64_t end = segments.AddLast(batch);
  for (const Segment& segment : before) {
    // With this checkpoint the one that needed it is not the one before the
    // last any more.
    if (!segment.is_retired()) continue;
    // So that compactions of other programs leave it out, too.
    const uint64_t key = core.identity.SegmentKeyHash(segment.number);
    end = batch.AddTombstone(key).end();
  }
  std::vector<Segment> after = segments.Update(before);
  TreeRoot& root = moment.root;
  std::copy_if(after.begin(), after.end(), std::back_inserter(root.segments),
               [](const Segment& segment) { return !segment.is_retired(); });
  root.next_segment = segments.next_segment();
  CommitHeader header = CheckpointHeader(core, now, end);
  header.flags |= CommitHeader::kRoot;
  header.sequence = moment.sequence;
  CommitWriter writer(header);
  writer.AddRoot(EncodeTreeRoot(root));
  writer.AddDigest();
  const EntryLocation location =
      batch.Add(core.identity.CheckpointKeyHash(), AsBytes(writer.payload()));
  VARVE_RETURN_IF_ERROR(batch.Commit());
  core.checkpoint_before =
      std::exchange(core.checkpoint, location.metadata_offset());
  core.log_bytes -= moment.log_bytes;
  core.clean = false;  // a mark that says so is no longer the newest record
  return after;
}

// Of the tree that a checkpoint has merged.
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
absl::Status WriteWholeTree(Core& core, Timestamp now, Moment& moment,
                            uint32_t next_segment)
    ABSL_LOCKS_EXCLUDED(core.commit_mu) {
  SegmentWriter segments(core, now, next_segment);
  VARVE_ASSIGN_OR_RETURN(
      const auto root,
      BuildTree(moment.tree->live->reader().items(), &segments));
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

bool CheckpointIsDue(Core& core) {
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::ReaderMutexLock lock(&core.tree_mu);
  const TreeTotals& totals = core.log_tree->live->totals();
  const uint64_t size =
      totals.inodes * kBytesPerInode + totals.extents * kBytesPerExtent;
  return core.log_bytes > std::clamp(size, kMinLogBytes, kMaxLogBytes);
}

absl::Status WriteCheckpoint(Core& core, Timestamp now) {
  absl::MutexLock checkpoint_lock(&core.checkpoint_mu);
  VARVE_ASSIGN_OR_RETURN(Moment moment, Freeze(core));
  LogTree& tree = *moment.tree;
  SegmentWriter segments(core, now, tree.next_segment);
  // What is written anew gets a new checksum: so each node that goes into it is
  // compared with its own once more, whatever was found when it was read first.
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
    // Those that have been written may not be used again in any case.
    absl::MutexLock lock(&core.tree_mu);
    tree.next_segment = segments.next_segment();
  }
  if (!status.ok()) {
    TakeBack(core, moment);
    return status;
  }
  absl::MutexLock commit_lock(&core.commit_mu);
  // Not before the checkpoint: what comes first in a store that was closed
  // properly must be a record.
  return WriteIndexImageIfDue(core);
}

absl::Status WriteFirstCheckpoints(Core& core, Timestamp now) {
  {
    absl::MutexLock lock(&core.commit_mu);
    core.checkpoint = core.checkpoint_before = 0;  // in the other store
  }
  VARVE_ASSIGN_OR_RETURN(Moment moment, Freeze(core));
  VARVE_RETURN_IF_ERROR(WriteWholeTree(core, now, moment, /*next_segment=*/1));
  std::vector<Segment> segments_before = moment.root.segments;
  VARVE_RETURN_IF_ERROR(
      WriteWholeTree(core, now, moment, moment.root.next_segment));
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
