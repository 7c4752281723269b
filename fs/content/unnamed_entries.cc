#include "fs/content/unnamed_entries.h"

#include "absl/container/flat_hash_set.h"
#include "fs/log/data_id_finder.h"

namespace varve::fs {
namespace {

// Payload offsets of all entries that some file's content lies in.
absl::flat_hash_set<uint64_t> EntriesInUse(const Tree& tree) {
  absl::flat_hash_set<uint64_t> in_use;
  tree.ForEach([&in_use](const Inode& inode) {
    Tree::ForEachEntryOf(inode,
                         [&in_use](uint64_t offset) { in_use.insert(offset); });
  });
  return in_use;
}

}  // namespace

std::vector<EntryLocation> UnnamedEntries::Find() {
  const auto relocations = [this] {
    absl::ReaderMutexLock lock(&core_.relocation_mu);
    return core_.relocations;
  };
  // The lock is not held meanwhile: a compaction that wants it alone would have
  // to wait, and everybody else behind it.
  while (true) {
    const uint64_t before = relocations();
    std::vector<EntryLocation> unnamed = FindOnce();
    if (relocations() == before) return unnamed;
  }
}

std::vector<EntryLocation> UnnamedEntries::FindInPlace() {
  core_.relocation_mu.AssertReaderHeld();
  return FindOnce();
}

std::vector<EntryLocation> UnnamedEntries::FindOnce() {
  absl::flat_hash_set<uint64_t> in_use;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    in_use = EntriesInUse(core_.tree);
  }
  const uint64_t limit = limit_.load();
  const uint64_t identity_key = HashKey(Identity::Key());
  const uint64_t checkpoint_key = core_.identity.CheckpointKeyHash();
  const uint64_t image_key = core_.identity.IndexImageKeyHash();
  std::vector<EntryLocation> unnamed;
  DataIdFinder finder(core_.identity, core_.next_data_id.load());
  core_.store->ForEach([&](const EntryView& entry) {
    const EntryLocation& location = entry.location();
    if (in_use.contains(location.payload_offset) ||
        location.key_hash == identity_key || location.key_hash == image_key) {
      return true;
    }
    if (const auto header = core_.identity.AsCommit(entry)) {
      finder.SeeRecord(*header, location);
    } else if (location.end() <= limit && location.key_hash != checkpoint_key) {
      unnamed.push_back(location);
      finder.Ask(location.key_hash);
    }
    return true;
  });
  // The rest of the tree's own: dead data.
  const auto ids = finder.Find();
  absl::ReaderMutexLock lock(&core_.tree_mu);
  std::erase_if(unnamed, [&](const EntryLocation& location) {
    core_.tree_mu.AssertReaderHeld();
    const auto found = ids.find(location.key_hash);
    return found != ids.end() &&
           !core_.tree.unfinished().Contains(found->second);
  });
  uint64_t bytes = 0;
  for (const EntryLocation& entry : unnamed) bytes += entry.size_on_disk();
  bytes_.store(bytes);
  return unnamed;
}

}  // namespace varve::fs
