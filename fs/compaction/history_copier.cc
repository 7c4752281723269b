#include "fs/compaction/history_copier.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/compaction/moved_tree.h"
#include "fs/compaction/part_copy.h"
#include "fs/log/checkpoint.h"
#include "fs/log/commit.h"
#include "fs/log/content_key.h"

namespace varve::fs {
namespace {

// How much is written at a time.
constexpr uint64_t kChunk = uint64_t{1} << 20;
constexpr size_t kMaxEntriesAtOnce = 512;

}  // namespace

absl::StatusOr<MomentLocation> LocationOfCheckpoint(Core& core) {
  absl::MutexLock lock(&core.commit_mu);
  VARVE_ASSIGN_OR_RETURN(
      const Checkpoint checkpoint,
      ReadCheckpoint(*core.store, core.identity, core.checkpoint));
  return MomentLocation{.sequence = checkpoint.header.sequence,
                        .checkpoint = core.checkpoint,
                        .end = checkpoint.root.log_begin};
}

absl::StatusOr<MomentLocation> HistoryCopier::Copy(
    std::unique_ptr<PastTree> next) {
  next_ = std::move(next);
  Core& copy = context_.copy;
  VARVE_ASSIGN_OR_RETURN(Differences found, FindDifferences());
  VARVE_RETURN_IF_ERROR(CopyContent(found.inodes));
  TreeTotals totals = FirstTotals();
  for (const Difference& inode : found.inodes) {
    VARVE_RETURN_IF_ERROR(MakeInode(inode, &found.items, &totals));
  }
  {
    absl::MutexLock commit_lock(&copy.commit_mu);
    copy.last_sequence = next_->sequence();
    copy.latest_time = next_->time();
    absl::MutexLock lock(&copy.tree_mu);
    copy.log_tree->live->Lay(std::move(found.items), totals);
  }
  VARVE_RETURN_IF_ERROR(WriteCheckpoint(copy, context_.now()));
  before_ = std::move(next_);
  return LocationOfCheckpoint(copy);
}

// --- What differs ------------------------------------------------------------

absl::StatusOr<HistoryCopier::Difference> HistoryCopier::DifferenceOf(
    uint64_t ino, bool extents_differ) const {
  Difference inode = {.ino = ino};
  VARVE_ASSIGN_OR_RETURN(inode.before, before_->reader().FindInode(ino));
  VARVE_ASSIGN_OR_RETURN(inode.after, next_->reader().FindInode(ino));
  inode.content_differs =
      extents_differ || !inode.before.has_value() || !inode.after.has_value() ||
      inode.before->whole_entry != inode.after->whole_entry ||
      inode.before->extent_count != inode.after->extent_count;
  return inode;
}

absl::StatusOr<HistoryCopier::Differences> HistoryCopier::FindDifferences()
    const {
  Differences found;
  // The inode that has come last, as all items of one come together.
  uint64_t ino = 0;
  bool extents_differ = false;
  const auto finish = [&]() -> absl::Status {
    if (ino == 0) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(found.inodes.emplace_back(),
                           DifferenceOf(ino, extents_differ));
    return absl::OkStatus();
  };
  VARVE_RETURN_IF_ERROR(DiffTrees(
      before_->reader().items(), next_->reader().items(),
      NodeSharing::kOneStore,
      [&](const ItemDifference& item) -> absl::StatusOr<bool> {
        const absl::StatusOr<ItemKey> parsed = ParseKey(item.key);
        if (!parsed.ok()) return parsed.status();
        const ItemKey& key = *parsed;
        if (key.kind == ItemKind::kTotals) return true;
        if (key.kind != ItemKind::kInode && key.kind != ItemKind::kExtent) {
          if (item.after.has_value()) {
            found.items.Put(item.key, *item.after);
          } else {
            found.items.Erase(item.key);
          }
          return true;
        }
        if (key.ino != ino) {
          const absl::Status finished = finish();
          if (!finished.ok()) return finished;
          ino = key.ino;
          extents_differ = false;
        }
        extents_differ |= key.kind == ItemKind::kExtent;
        return true;
      }));
  VARVE_RETURN_IF_ERROR(finish());
  return found;
}

// --- Content -----------------------------------------------------------------

absl::StatusOr<std::optional<InodeItem>> HistoryCopier::CopyOf(uint64_t ino) {
  absl::ReaderMutexLock lock(&context_.copy.tree_mu);
  return context_.copy.reader().FindInode(ino);
}

absl::Status HistoryCopier::Gather(const Difference& inode,
                                   std::vector<Extent>* unknown,
                                   std::vector<EntryKeys>* hidden) {
  const bool loses_key = inode.before.has_value() &&
                         (inode.content_differs ||
                          inode.before->first_name != inode.after->first_name);
  if (loses_key) {
    VARVE_ASSIGN_OR_RETURN(const auto copied, CopyOf(inode.ino));
    absl::ReaderMutexLock lock(&context_.copy.tree_mu);
    if (copied.has_value()) {
      VARVE_ASSIGN_OR_RETURN(const auto key,
                             KeyOfContent(context_.copy, *copied));
      if (key.has_value()) hidden->push_back(*key);
    }
  }
  if (!inode.content_differs || !inode.after.has_value()) {
    return absl::OkStatus();
  }
  absl::Status status;
  VARVE_RETURN_IF_ERROR(next_->reader().ForEachExtent(
      *inode.after, 0, kMaxFileSize, [&](const Extent& extent) {
        status = context_.translation.Translate(extent, unknown).status();
        return status.ok();
      }));
  return status;
}

absl::Status HistoryCopier::CopyContent(const std::vector<Difference>& inodes) {
  std::vector<Extent> unknown;
  std::vector<EntryKeys> hidden;
  for (const Difference& inode : inodes) {
    VARVE_RETURN_IF_ERROR(Gather(inode, &unknown, &hidden));
  }
  VARVE_RETURN_IF_ERROR(HideKeys(hidden));
  // In the order in which they lie, the newest entry of a key stays that.
  std::sort(unknown.begin(), unknown.end(),
            [](const Extent& a, const Extent& b) {
              return a.store_offset < b.store_offset;
            });
  return CopyExtents(unknown);
}

absl::Status HistoryCopier::HideKeys(const std::vector<EntryKeys>& keys) {
  if (keys.empty()) return absl::OkStatus();
  absl::flat_hash_set<uint64_t> seen;
  Batch batch = context_.copy.store->BeginBatch();
  for (const EntryKeys& one : keys) {
    if (seen.insert(one.key_hash).second) batch.AddTombstone(one);
  }
  return batch.Commit();
}

absl::Status HistoryCopier::CopyExtents(const std::vector<Extent>& extents) {
  Core& copy = context_.copy;
  size_t at = 0;
  uint64_t copied_to = 0;  // in the old store
  while (at < extents.size()) {
    Batch batch = copy.store->BeginBatch();
    std::vector<std::pair<uint64_t, Extent>> places;  // by the old offset
    uint64_t bytes = 0;
    for (; at < extents.size() && bytes < kChunk &&
           places.size() < kMaxEntriesAtOnce;
         ++at) {
      const Extent& extent = extents[at];
      // Several files may share it.
      if (extent.store_offset + extent.length <= copied_to) continue;
      VARVE_RETURN_IF_ERROR(
          Annotate(pinned_.VerifyOnce(extent), "content of a past moment"));
      VARVE_ASSIGN_OR_RETURN(const auto data, pinned_.BytesOf(extent));
      Extent place;
      if (extent.owns_entry()) {
        place = ExtentOf(
            batch.Add(copy.identity.ContentKeys(extent.key_hash), {data}));
      } else {
        const PartCopy part(copy.identity, context_.new_data_id, data);
        place = part.ExtentIn(ExtentOf(batch.Add(
            copy.identity.ContentKeys(part.key_hash()), part.pieces())));
      }
      places.emplace_back(extent.store_offset, place);
      copied_to = std::max(copied_to, extent.store_offset + extent.length);
      bytes += extent.length;
    }
    VARVE_RETURN_IF_ERROR(batch.Commit());
    pinned_.Release();
    for (const auto& [old_offset, place] : places) {
      VARVE_RETURN_IF_ERROR(context_.translation.Add(old_offset, place));
    }
    VARVE_RETURN_IF_ERROR(context_.monitor.Count(bytes));
  }
  return absl::OkStatus();
}

// --- Items -------------------------------------------------------------------

TreeTotals HistoryCopier::FirstTotals() {
  TreeTotals totals = next_->totals();
  absl::ReaderMutexLock lock(&context_.copy.tree_mu);
  const TreeTotals& copied = context_.copy.totals();
  totals.extents = copied.extents;
  totals.data_bytes = copied.data_bytes;
  totals.may_have_clones |= copied.may_have_clones;
  return totals;
}

absl::Status HistoryCopier::MakeInode(const Difference& inode, Overlay* items,
                                      TreeTotals* totals) {
  VARVE_ASSIGN_OR_RETURN(const auto copied, CopyOf(inode.ino));
  if (copied.has_value() && inode.content_differs) {
    totals->extents -= copied->extent_count;
    totals->data_bytes -= copied->data_bytes();
    absl::ReaderMutexLock lock(&context_.copy.tree_mu);
    VARVE_RETURN_IF_ERROR(context_.copy.reader().ForEachExtent(
        *copied, 0, kMaxFileSize, [&](const Extent& extent) {
          items->Erase(ExtentKey(inode.ino, extent.file_offset));
          return true;
        }));
  }
  if (!inode.after.has_value()) {
    items->Erase(InodeKey(inode.ino));
    return absl::OkStatus();
  }
  InodeItem now = *inode.after;
  if (!inode.content_differs) {
    now.whole_entry = copied->whole_entry;
    now.extent_count = copied->extent_count;
    now.extent_bytes = copied->extent_bytes;
    now.patched = copied->patched;
  } else {
    VARVE_ASSIGN_OR_RETURN(
        std::vector<Extent> extents,
        MovedExtents(next_->reader(), now, context_.translation,
                     /*keeps_sharing=*/true));
    SetExtents(&extents, &now);
    if (now.whole_entry.has_value()) now.patched = 0;
    for (const Extent& extent : extents) {
      totals->may_have_clones |= extent.shared;
      items->Put(ExtentKey(inode.ino, extent.file_offset),
                 EncodeExtentItem(extent));
    }
    totals->extents += now.extent_count;
    totals->data_bytes += now.data_bytes();
  }
  items->Put(InodeKey(inode.ino), EncodeInode(now));
  return absl::OkStatus();
}

}  // namespace varve::fs
