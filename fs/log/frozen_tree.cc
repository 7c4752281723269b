#include "fs/log/frozen_tree.h"

#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "fs/format/commit_record.h"
#include "fs/tree/items.h"

namespace varve::fs {
namespace {

// How many changed items are copied at a time.
constexpr size_t kItemsAtOnce = 256;

}  // namespace

absl::Status VisitExtentOf(absl::string_view key, absl::string_view value,
                           absl::FunctionRef<bool(const Extent&)> visit) {
  VARVE_ASSIGN_OR_RETURN(const ItemKey parsed, ParseKey(key));
  if (parsed.kind == ItemKind::kExtent) {
    VARVE_ASSIGN_OR_RETURN(const Extent extent,
                           DecodeExtentItem(parsed.file_offset, value));
    if (!extent.is_hole()) visit(extent);
  } else if (parsed.kind == ItemKind::kInode) {
    VARVE_ASSIGN_OR_RETURN(const InodeItem inode,
                           DecodeInode(parsed.ino, value));
    if (inode.whole_entry.has_value()) visit(inode.WholeExtent());
  }
  return absl::OkStatus();
}

absl::Status VisitExtents(const LayeredTree& items,
                          absl::FunctionRef<bool(const Extent&)> visit) {
  LayeredCursor cursor(&items);
  VARVE_RETURN_IF_ERROR(cursor.Seek(InodeKey(kRootIno)));
  bool goes_on = true;
  while (goes_on && cursor.valid()) {
    VARVE_RETURN_IF_ERROR(
        VisitExtentOf(cursor.key(), cursor.value(), [&](const Extent& extent) {
          goes_on = visit(extent);
          return goes_on;
        }));
    VARVE_RETURN_IF_ERROR(cursor.Next());
  }
  return absl::OkStatus();
}

FrozenTree::FrozenTree(std::shared_ptr<LogTree> source)
    : source_(std::move(source)),
      segments_(source_->segments),
      nodes_(&segments_),
      stored_(&nodes_, source_->live->stored().root()) {}

absl::StatusOr<std::unique_ptr<FrozenTree>> FrozenTree::Take(Core& core) {
  while (true) {
    std::unique_ptr<FrozenTree> tree;
    {
      // All that has been appended is in the tree.
      absl::MutexLock commit_lock(&core.commit_mu);
      absl::ReaderMutexLock lock(&core.tree_mu);
      tree = absl::WrapUnique(new FrozenTree(core.log_tree));
      std::vector<uint32_t> numbers;
      for (const Segment& segment : tree->segments_.All()) {
        numbers.push_back(segment.number);
      }
      tree->pin_ = core.root_pins.Add(std::move(numbers));
    }
    // From here on it does not matter which file is the store.
    VARVE_RETURN_IF_ERROR(tree->segments_.Detach());
    if (tree->CopyChanges(core)) return tree;
  }
}

bool FrozenTree::CopyChanges(Core& core) {
  std::string next;
  do {
    absl::ReaderMutexLock lock(&core.tree_mu);
    const LiveTree& live = *core.log_tree->live;
    if (live.stored().root() != stored_.root()) return false;
    next = live.CopyChangedContent(next, kItemsAtOnce, &changes_);
  } while (!next.empty());
  return true;
}

absl::Status FrozenTree::ForEachExtent(
    absl::FunctionRef<bool(const Extent&)> visit) const {
  const LayeredTree items({&changes_}, &stored_);
  const absl::Status status = VisitExtents(items, visit);
  source_->segments.NoteDamage(segments_.TakeDamage());
  return status;
}

absl::Status ForEachCommittedExtent(
    const Core& core, uint64_t begin, uint64_t end,
    absl::FunctionRef<void(const Extent&)> visit) {
  for (uint64_t at = end; at > begin;) {
    VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                           core.store->EntryEndingAt(at));
    const EntryLocation& location = entry.location();
    at = location.prev_tail;
    const auto header = core.identity.AsCommit(entry);
    if (!header.has_value() || !header->is_commit()) continue;
    VARVE_RETURN_IF_ERROR(core.store->Verify(location));
    VARVE_ASSIGN_OR_RETURN(
        CommitReader reader,
        CommitReader::Open(entry.payload_text(), location.payload_offset,
                           location.key_hash, location.crc32));
    while (true) {
      VARVE_ASSIGN_OR_RETURN(std::optional<Change> change, reader.Next());
      if (!change.has_value()) break;
      const ExtentList* extents = ExtentsOf(*change);
      if (extents == nullptr) continue;
      for (const Extent& extent : *extents) {
        if (!extent.is_hole()) visit(extent);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
