#include "fs/content/unnamed_entries.h"

#include <utility>

#include "engine/base/status.h"
#include "fs/log/frozen_tree.h"

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

std::vector<EntryLocation> UnnamedEntries::FindBetween(
    const UsedRanges& used, uint64_t end, const DataIdRanges& kept) const {
  const uint64_t limit = limit_.load();
  const uint64_t next_data_id = core_.next_data_id.load();
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
        used.Contains(location) || core_.identity.IsBlockSums(entry)) {
      return true;
    }
    // Entries whose ids were drawn by commits are dead data of the tree.
    const auto id = core_.identity.DataIdOf(location.key_hash);
    const bool is_dead =
        id.has_value() && *id < next_data_id && !kept.Contains(*id);
    if (!is_dead) found.push_back(location);
    return true;
  });
  return found;
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
  DataIdRanges kept;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(kept, UnfinishedIds(core_.reader()));
  }
  std::vector<EntryLocation> unnamed;
  const ExtentSource* const trees[] = {tree.get()};
  const absl::Status walked = UsedRanges::ForEachPass(
      tail, UsedRanges::kMost, trees, [] { return absl::OkStatus(); },
      [&others](UsedRanges& used) {
        for (const Extent& extent : others) used.Add(extent);
      },
      [&](const UsedRanges& used, uint64_t end) {
        VARVE_RETURN_IF_ERROR(core_.store->CheckLength(tail));
        const std::vector<EntryLocation> found = FindBetween(used, end, kept);
        unnamed.insert(unnamed.end(), found.begin(), found.end());
        return absl::OkStatus();
      });
  VARVE_RETURN_IF_ERROR(walked);
  uint64_t bytes = 0;
  for (const EntryLocation& entry : unnamed) bytes += entry.size_on_disk();
  bytes_.store(bytes);
  return unnamed;
}

}  // namespace varve::fs
