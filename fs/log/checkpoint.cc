#include "fs/log/checkpoint.h"

#include <algorithm>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "engine/base/status.h"
#include "fs/format/commit_record.h"

namespace varve::fs {
namespace {

// About what a checkpoint takes for an inode and its name.
constexpr uint64_t kBytesPerInode = 100;
// And for an extent of a file in pieces.
constexpr uint64_t kBytesPerExtent = 40;
// Logs shorter than this are replayed quickly enough in any case.
constexpr uint64_t kMinLogBytes = uint64_t{1} << 20;
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

absl::Status AppendCheckpoint(Core& core, Timestamp now)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu) {
  Batch batch = core.store->BeginBatch();
  CommitHeader header;
  header.flags = CommitHeader::kCheckpoint;
  header.sequence = core.last_sequence;
  header.time = now;
  // Says that the identity comes first, as long as it is so: see format.md.
  header.batch_begin = BeginsWithIdentity(*core.store) ? 0 : batch.begin();
  header.position = Align64(batch.begin());
  header.durable_tail = core.store->durable_tail();
  header.next_ino = core.next_ino;
  header.next_data_id = core.next_data_id.load();
  CommitWriter writer(header);
  // The checkpoint has these times, too.
  absl::flat_hash_set<uint64_t> accessed;
  {
    absl::MutexLock lock(&core.tree_mu);
    accessed.swap(core.accessed);
  }
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    writer.Reserve(CheckpointSize(core.tree));
    AddTree(core.tree, writer);
  }
  writer.AddDigest();
  const EntryLocation location =
      batch.Add(core.identity.CheckpointKeyHash(), AsBytes(writer.payload()));
  if (absl::Status status = batch.Commit(); !status.ok()) {
    absl::MutexLock lock(&core.tree_mu);
    core.accessed.insert(accessed.begin(), accessed.end());
    return status;
  }
  core.checkpoint = location.metadata_offset();
  core.log_bytes = 0;
  core.clean = false;  // a mark that says so is no longer the newest record
  return absl::OkStatus();
}

}  // namespace

bool CheckpointIsDue(Core& core) {
  absl::ReaderMutexLock lock(&core.tree_mu);
  return core.log_bytes > std::max(kMinLogBytes, CheckpointSize(core.tree));
}

absl::Status WriteCheckpoint(Core& core, Timestamp now) {
  VARVE_RETURN_IF_ERROR(AppendCheckpoint(core, now));
  // Not before the checkpoint: what comes first in a store that was closed
  // properly must be a record.
  return WriteIndexImageIfDue(core);
}

absl::Status WriteIndexImageIfDue(Core& core) {
  const uint64_t limit = std::max<uint64_t>(core.min_entries_for_image,
                                            core.store->size() / kImageShare);
  if (core.store->entries_since_image() < limit) return absl::OkStatus();
  return core.store->WriteIndexImage(core.identity.IndexImageKeyHash());
}

}  // namespace varve::fs
