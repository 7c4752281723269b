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
#include "fs/log/tree_bridge.h"
#include "fs/tree/tree_editor.h"

namespace varve::fs {
namespace {

// About what a checkpoint takes for an inode and its name.
constexpr uint64_t kBytesPerInode = 100;
// And for an extent of a file in pieces.
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

// About how many bytes the checkpoint of the tree takes.
uint64_t CheckpointSize(const Tree& tree) {
  return tree.inode_count() * kBytesPerInode +
         tree.extent_count() * kBytesPerExtent;
}

void AddContent(const Inode& inode, CommitWriter& writer) {
  if (inode.whole_entry != Inode::kNone) {
    writer.Add(SetContent{.ino = inode.ino, .extents = {inode.WholeExtent()}});
    return;
  }
  if (inode.detail == nullptr || inode.detail->extents.empty()) return;
  SetContent set{.ino = inode.ino};
  for (const auto& [offset, extent] : inode.detail->extents.extents()) {
    set.extents.push_back(extent);
  }
  writer.Add(set);
}

// All names, those of each directory in its order.
void AddNames(const Tree& tree, CommitWriter& writer) {
  const auto put = [&writer](const Name& name) {
    writer.Add(PutName{.parent = name.parent->ino,
                       .ino = name.inode->ino,
                       .name = name.text()});
  };
  // Of each inode of several names, the one that was put first.
  absl::flat_hash_map<const Inode*, const Name*> heads;
  tree.ForEach([&](const Inode& inode) {
    if (!inode.is_directory()) return;
    inode.directory().ForEachAfter(0, [&](const Name& name) {
      put(name);
      if (name.links == nullptr) return true;
      const Name& head = *heads.emplace(name.inode, &name).first->second;
      // The first name of an inode decides about its key, and has to stay the
      // first. The one that was put first is dropped, then the newest becomes
      // it; and put again, which lets it keep its place.
      if (name.inode->names == &name && &head != &name) {
        writer.Add(DropName{.parent = head.parent->ino, .name = head.text()});
        put(head);
      }
      return true;
    });
  });
}

// Inodes come before their names, and directories before what is in them.
void AddTree(const Tree& tree, CommitWriter& writer) {
  tree.ForEach([&writer](const Inode& inode) {
    writer.Add(PutInode{.ino = inode.ino, .attributes = inode.attributes});
    AddContent(inode, writer);
    if (inode.detail == nullptr) return;
    for (const auto& [name, value] : inode.detail->xattrs) {
      writer.Add(SetXattr{.ino = inode.ino, .name = name, .value = value});
    }
  });
  AddNames(tree, writer);
  for (const auto& [begin, end] : tree.unfinished().ranges()) {
    writer.Add(KeepUnfinished{.begin = begin, .end = end});
  }
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
  absl::flat_hash_set<uint64_t> accessed;  // inodes
};

// Puts the access times that are in memory alone into the tree.
absl::Status AddAccessTimes(Core& core,
                            const absl::flat_hash_set<uint64_t>& accessed)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.tree_mu) {
  if (accessed.empty()) return absl::OkStatus();
  LiveTree& live = *core.log_tree->live;
  TreeEditor editor = live.Edit();
  for (const uint64_t ino : accessed) {
    const Inode* inode = core.tree.Find(ino);
    if (inode == nullptr) continue;
    VARVE_RETURN_IF_ERROR(editor.Apply(
        PutInode{.ino = ino, .attributes = inode->attributes}, std::nullopt));
  }
  live.Publish(editor);
  return absl::OkStatus();
}

absl::StatusOr<Moment> Freeze(Core& core) ABSL_LOCKS_EXCLUDED(core.commit_mu) {
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::MutexLock lock(&core.tree_mu);
  VARVE_RETURN_IF_ERROR(AddAccessTimes(core, core.accessed));
  Moment moment;
  moment.tree = core.log_tree;
  moment.sequence = core.last_sequence;
  moment.log_bytes = core.log_bytes;
  moment.root.log_begin = core.store->tail();
  moment.root.first_data_id = core.next_data_id.load();
  moment.root.previous = core.checkpoint;
  moment.accessed.swap(core.accessed);
  core.log_tree->live->Freeze();
  return moment;
}

// Of a checkpoint that has failed, which is returned.
absl::Status TakeBack(Core& core, const Moment& moment,
                      const absl::Status& failure)
    ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu) {
  absl::MutexLock commit_lock(&core.commit_mu);
  {
    absl::MutexLock lock(&core.tree_mu);
    moment.tree->live->Thaw();
    core.accessed.insert(moment.accessed.begin(), moment.accessed.end());
    if (core.log_tree != moment.tree) return failure;
  }
  if (absl::IsDataLoss(failure)) {
    VARVE_RETURN_IF_ERROR(RebuildLogTree(core, failure));
  }
  return failure;
}

// Whether the tree was made anew since the checkpoint was begun.
bool IsOutdated(Core& core, const Moment& moment)
    ABSL_LOCKS_EXCLUDED(core.tree_mu) {
  absl::ReaderMutexLock lock(&core.tree_mu);
  return core.log_tree != moment.tree;
}

absl::Status AppendRoot(Core& core, Timestamp now, Moment& moment,
                        SegmentWriter& segments)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  VARVE_RETURN_IF_ERROR(MarkInUse(core, now));
  Batch batch = core.store->BeginBatch();
  const uint64_t end = segments.AddLast(batch);
  NodeSegments& known = moment.tree->segments;
  const std::vector<Segment> before = known.All();
  const std::vector<Segment> after = segments.Update(before);
  TreeRoot& root = moment.root;
  std::copy_if(after.begin(), after.end(), std::back_inserter(root.segments),
               [](const Segment& segment) { return segment.live_bytes > 0; });
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
  for (const Segment& segment : after) known.Add(segment);
  // The checkpoint that needed these is not the one before the last any more.
  for (const Segment& segment : before) {
    if (segment.live_bytes == 0) known.Remove(segment.number);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteWholeTree(Core& core, Timestamp now) {
  Batch batch = core.store->BeginBatch();
  CommitWriter writer(CheckpointHeader(core, now, batch.begin()));
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    writer.Reserve(CheckpointSize(core.tree));
    AddTree(core.tree, writer);
  }
  writer.AddDigest();
  const EntryLocation location =
      batch.Add(core.identity.CheckpointKeyHash(), AsBytes(writer.payload()));
  VARVE_RETURN_IF_ERROR(batch.Commit());
  core.checkpoint_before = 0;
  core.checkpoint = location.metadata_offset();
  core.log_bytes = 0;
  core.clean = false;  // a mark that says so is no longer the newest record
  return absl::OkStatus();
}

absl::Status ResetLogTree(Core& core) {
  VARVE_ASSIGN_OR_RETURN(
      core.log_tree,
      LogTree::Open(core.store.get(), std::nullopt, core.identity.NameSeed()));
  return absl::OkStatus();
}

absl::Status CopyToNewLogTree(Core& core) {
  VARVE_RETURN_IF_ERROR(ResetLogTree(core));
  CopyToLog(core.tree, *core.log_tree->live);
  return absl::OkStatus();
}

absl::Status RebuildLogTree(Core& core, const absl::Status& damage) {
  core.node_damage.Update(damage);
  absl::MutexLock lock(&core.tree_mu);
  const uint32_t next_segment = core.log_tree->next_segment;
  VARVE_RETURN_IF_ERROR(CopyToNewLogTree(core));
  core.log_tree->next_segment = next_segment;
  return absl::OkStatus();
}

bool CheckpointIsDue(Core& core) {
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::ReaderMutexLock lock(&core.tree_mu);
  return core.log_bytes >
         std::clamp(CheckpointSize(core.tree), kMinLogBytes, kMaxLogBytes);
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
    status = IsOutdated(core, moment)
                 ? absl::AbortedError("nodes of the tree are damaged")
                 : AppendRoot(core, now, moment, segments);
    if (status.ok()) {
      absl::MutexLock lock(&core.tree_mu);
      tree.live->Install(*root, &garbage);
    }
  }
  {
    // Those that have been written may not be used again in any case.
    absl::MutexLock lock(&core.tree_mu);
    tree.next_segment = segments.next_segment();
    core.log_tree->next_segment =
        std::max(core.log_tree->next_segment, tree.next_segment);
  }
  if (!status.ok()) return TakeBack(core, moment, status);
  absl::MutexLock commit_lock(&core.commit_mu);
  // Not before the checkpoint: what comes first in a store that was closed
  // properly must be a record.
  return WriteIndexImageIfDue(core);
}

absl::Status WriteFirstCheckpoint(Core& core, Timestamp now) {
  {
    absl::MutexLock commit_lock(&core.commit_mu);
    VARVE_RETURN_IF_ERROR(WriteWholeTree(core, now));
    absl::MutexLock lock(&core.tree_mu);
    VARVE_RETURN_IF_ERROR(CopyToNewLogTree(core));
  }
  return WriteCheckpoint(core, now);
}

absl::Status WriteIndexImageIfDue(Core& core) {
  const uint64_t limit = std::max<uint64_t>(core.min_entries_for_image,
                                            core.store->size() / kImageShare);
  if (core.store->entries_since_image() < limit) return absl::OkStatus();
  return core.store->WriteIndexImage(core.identity.IndexImageKeyHash());
}

}  // namespace varve::fs
