#include "fs/content/unnamed_entries.h"

#include <utility>

#include "engine/base/status.h"
#include "fs/log/frozen_tree.h"
#include "fs/tree/data_id_ranges.h"

namespace varve::fs {

absl::StatusOr<UnnamedEntries::Found> UnnamedEntries::Find() {
  const auto relocations = [this] {
    absl::ReaderMutexLock lock(&core_.relocation_mu);
    return core_.relocations;
  };
  // Do not hold the lock during the search: a compaction that needs it
  // exclusively would have to wait, and all other threads behind it.
  while (true) {
    const uint64_t before = relocations();
    auto unnamed = FindOnce();
    if (relocations() != before) continue;
    VARVE_RETURN_IF_ERROR(unnamed.status());
    return Found{.entries = *std::move(unnamed), .relocations = before};
  }
}

absl::Status UnnamedEntries::TakeOutOurs(
    std::vector<EntryLocation>& entries) const {
  const uint64_t next_data_id = core_.next_data_id.load();
  DataIdRanges kept;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(kept, UnfinishedIds(core_.reader()));
  }
  std::erase_if(entries, [&](const EntryLocation& location) {
    if (!core_.identity.IsDataKey(location.key_hash, next_data_id)) {
      return false;
    }
    const auto key = core_.identity.AsReservedKey(location.key_hash);
    return !kept.Contains(key->number);
  });
  return absl::OkStatus();
}

absl::Status UnnamedEntries::FindBetween(
    const UsedRanges& used, uint64_t end,
    std::vector<EntryLocation>& unnamed) const {
  const uint64_t limit = limit_.load();
  const uint64_t identity_key = HashKey(Identity::Key());
  const uint64_t checkpoint_key = core_.identity.CheckpointKeyHash();
  const uint64_t image_key = core_.identity.IndexImageKeyHash();
  std::vector<EntryLocation> found;
  core_.store->ForEach([&](const EntryView& entry) {
    const EntryLocation& location = entry.location();
    if (location.metadata_offset() >= end) return true;
    if (location.metadata_offset() < used.begin()) return false;
    if (core_.identity.AsCommit(entry).has_value() || location.end() > limit ||
        location.key_hash == identity_key ||
        location.key_hash == checkpoint_key || location.key_hash == image_key ||
        used.Contains(location)) {
      return true;
    }
    if (!core_.identity.IsBlockSums(entry)) found.push_back(location);
    return true;
  });
  // The rest of the tree's own: dead data.
  VARVE_RETURN_IF_ERROR(TakeOutOurs(found));
  unnamed.insert(unnamed.end(), found.begin(), found.end());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<EntryLocation>> UnnamedEntries::FindOnce() {
  uint64_t committed;
  {
    absl::MutexLock lock(&core_.commit_mu);
    committed = core_.store->tail();
  }
  VARVE_ASSIGN_OR_RETURN(const auto tree, FrozenTree::Take(core_));
  // What is in use and no commit of the tree says so.
  std::vector<Extent> others;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    core_.orphans.ForEachExtent(
        [&others](const Extent& extent) { others.push_back(extent); });
  }
  uint64_t tail;
  {
    absl::MutexLock lock(&core_.commit_mu);
    tail = core_.store->tail();
  }
  VARVE_RETURN_IF_ERROR(ForEachCommittedExtent(
      core_, committed, tail,
      [&others](const Extent& extent) { others.push_back(extent); }));
  std::vector<EntryLocation> unnamed;
  for (uint64_t end = tail; end > 0;) {
    UsedRanges used(end);
    for (const Extent& extent : others) used.Add(extent);
    const FrozenTree* const trees[] = {tree.get()};
    VARVE_RETURN_IF_ERROR(
        used.AddTrees(trees, [] { return absl::OkStatus(); }));
    VARVE_RETURN_IF_ERROR(core_.store->CheckLength(tail));
    used.Finish();
    VARVE_RETURN_IF_ERROR(FindBetween(used, end, unnamed));
    end = used.begin();
  }
  uint64_t bytes = 0;
  for (const EntryLocation& entry : unnamed) bytes += entry.size_on_disk();
  bytes_.store(bytes);
  return unnamed;
}

}  // namespace varve::fs
