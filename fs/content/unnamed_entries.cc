#include "fs/content/unnamed_entries.h"

#include "absl/container/flat_hash_set.h"
#include "engine/base/status.h"
#include "fs/tree/data_id_ranges.h"

namespace varve::fs {

absl::StatusOr<std::vector<EntryLocation>> UnnamedEntries::Find() {
  const auto relocations = [this] {
    absl::ReaderMutexLock lock(&core_.relocation_mu);
    return core_.relocations;
  };
  // Do not hold the lock during the search: a compaction that needs it
  // exclusively would have to wait, and all other threads behind it.
  while (true) {
    const uint64_t before = relocations();
    auto unnamed = FindOnce();
    if (relocations() == before) return unnamed;
  }
}

absl::StatusOr<std::vector<EntryLocation>> UnnamedEntries::FindInPlace() {
  core_.relocation_mu.AssertReaderHeld();
  return FindOnce();
}

absl::StatusOr<std::vector<EntryLocation>> UnnamedEntries::FindOnce() {
  absl::flat_hash_set<uint64_t> in_use;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(
        ForEachExtentInUse(core_, [&in_use](const Extent& extent) {
          in_use.insert(extent.payload_offset());
        }));
  }
  const uint64_t limit = limit_.load();
  const uint64_t next_data_id = core_.next_data_id.load();
  const uint64_t identity_key = HashKey(Identity::Key());
  const uint64_t checkpoint_key = core_.identity.CheckpointKeyHash();
  const uint64_t image_key = core_.identity.IndexImageKeyHash();
  std::vector<EntryLocation> unnamed;
  core_.store->ForEach([&](const EntryView& entry) {
    const EntryLocation& location = entry.location();
    if (in_use.contains(location.payload_offset) ||
        location.key_hash == identity_key || location.key_hash == image_key) {
      return true;
    }
    if (!core_.identity.AsCommit(entry).has_value() &&
        location.end() <= limit && location.key_hash != checkpoint_key) {
      unnamed.push_back(location);
    }
    return true;
  });
  // Entries whose ids were drawn by commits are dead data of the tree.
  DataIdRanges kept;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(kept, UnfinishedIds(core_.reader()));
  }
  std::erase_if(unnamed, [&](const EntryLocation& location) {
    if (!core_.identity.IsDataKey(location.key_hash, next_data_id)) {
      return false;
    }
    const auto key = core_.identity.AsReservedKey(location.key_hash);
    return !kept.Contains(key->number);
  });
  uint64_t bytes = 0;
  for (const EntryLocation& entry : unnamed) bytes += entry.size_on_disk();
  bytes_.store(bytes);
  return unnamed;
}

}  // namespace varve::fs
