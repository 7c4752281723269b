#include "tools/varve/raw_tree.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "fs/format/identity.h"
#include "fs/log/content_key.h"
#include "fs/log/store_identity.h"
#include "fs/tree/tree_reader.h"
#include "fs/volume/volume.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/open_store.h"
#include "tools/varve/progress.h"

namespace varve::tools {
namespace {

absl::Status Compact(Store& store) {
  const Progress progress(
      absl::StrCat("compacting ", LastPartOf(store.path())));
  return store.Compact();
}

// Whether the newest commit in the chain marks the store as closed. Other
// programs wrote the entries behind it, into a closed store.
bool WasClosedProperly(const Store& store, const fs::Identity& identity) {
  bool clean = false;
  const absl::Status walked = store.ForEachInChain([&](const EntryView& entry) {
    const auto commit = identity.AsCommit(entry);
    if (!commit.has_value()) return true;
    clean = commit->clean();
    return false;
  });
  return walked.ok() && clean && store.recovery().torn_bytes == 0;
}

// Recovers the tree as a mount would, if there is one that needs it.
absl::Status CloseTreeProperly(const std::string& path) {
  {
    OpenOptions options;
    options.mode = OpenMode::kRead;
    const auto store = Store::Open(path, options);
    // Opening it for writing will fail and say why.
    if (!store.ok()) return absl::OkStatus();
    const auto entry = fs::FindIdentityEntry(**store);
    if (!entry.ok()) return absl::OkStatus();
    const auto identity = fs::Identity::Decode(entry->payload_text());
    if (identity.ok() && WasClosedProperly(**store, *identity)) {
      return absl::OkStatus();
    }
  }
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenVolume(path, {}));
  return Explain(volume->Close(), absl::StrCat("cannot close ", path));
}

// An entry that holds bytes of a file.
struct NeededEntry {
  uint64_t key_hash;
  uint64_t metadata_offset;
  std::string file;
};

absl::Status AddNeeded(const fs::TreeReader& tree, const fs::InodeItem& inode,
                       std::vector<NeededEntry>& needed) {
  VARVE_ASSIGN_OR_RETURN(const std::string path, tree.PathOf(inode));
  return tree.ForEachExtent(
      inode, 0, fs::kMaxFileSize, [&](const fs::Extent& extent) {
        needed.push_back(
            {extent.key_hash, extent.entry_metadata_offset(), path});
        return true;
      });
}

absl::StatusOr<std::vector<NeededEntry>> NeededEntries(fs::Volume& volume) {
  std::vector<NeededEntry> needed;
  absl::Status status;
  volume.WithTree([&](const fs::TreeReader& tree) {
    absl::Status added;
    status = tree.ForEachInode([&](const fs::InodeItem& inode) {
      added = AddNeeded(tree, inode, needed);
      return added.ok();
    });
    status.Update(added);
  });
  VARVE_RETURN_IF_ERROR(status);
  return needed;
}

absl::Status CompactUnderTree(const std::string& path) {
  std::vector<NeededEntry> needed;
  uint64_t tail = 0;
  {
    // Open it for writing, so that the tree takes over the entries that other
    // programs have written. After compaction it could not recognise them any
    // more.
    VARVE_ASSIGN_OR_RETURN(const auto volume, OpenVolume(path, {}));
    VARVE_ASSIGN_OR_RETURN(needed, NeededEntries(*volume));
    VARVE_RETURN_IF_ERROR(
        Explain(volume->Close(), absl::StrCat("cannot close ", path)));
    tail = volume->store().tail();
  }
  VARVE_ASSIGN_OR_RETURN(const auto store,
                         OpenStore(path, OpenMode::kReadWrite));
  if (store->tail() != tail) {
    return ExitError(
        ExitStatus::kBusy,
        absl::StrCat(path, " was written to meanwhile; try again"));
  }
  for (const NeededEntry& entry : needed) {
    if (store->Find(EntryKey::OfHash(entry.key_hash)) == entry.metadata_offset)
      continue;
    return ExitError(
        ExitStatus::kRefused,
        absl::StrCat("a raw compaction would lose content of the file \"",
                     entry.file,
                     "\", which lies in an entry whose key has "
                     "been deleted or overwritten; `varve compact`, which "
                     "knows the tree, keeps it"));
  }
  return Compact(*store);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenStoreForRawWriting(
    const std::string& path, OpenMode mode) {
  VARVE_RETURN_IF_ERROR(CloseTreeProperly(path));
  return OpenStore(path, mode);
}

absl::Status CheckRawKey(const Store& store, absl::string_view key,
                         absl::string_view value) {
  const uint64_t key_hash = HashKey(key);
  bool refused = key_hash == HashKey(fs::Identity::Key());
  const auto entry = fs::FindIdentityEntry(store);
  // A store without a tree has no other reserved keys.
  if (!refused && entry.ok()) {
    VARVE_ASSIGN_OR_RETURN(const fs::Identity identity,
                           fs::Identity::Decode(entry->payload_text()));
    refused = identity.Reserves(key_hash, value);
  }
  if (!refused) return absl::OkStatus();
  return ExitError(
      ExitStatus::kRefused,
      absl::StrCat("the key ", Printable(key), " has the hash of one that ",
                   store.path(),
                   " needs for the tree in it; choose another key"));
}

absl::Status CompactRaw(const std::string& path) {
  {
    VARVE_ASSIGN_OR_RETURN(const auto store,
                           OpenStoreForRawWriting(path, OpenMode::kReadWrite));
    if (!fs::FindIdentityEntry(*store).ok()) return Compact(*store);
  }
  return CompactUnderTree(path);
}

}  // namespace varve::tools
