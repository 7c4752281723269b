#include "fs/log/content_key.h"

#include <algorithm>

#include "engine/base/status.h"

namespace varve::fs {
namespace {

// Whether the file lies in one entry that is known to be the newest of its key,
// without a look into the index: it was written to the path that it has, or
// lies under a data key. False if that cannot be told. DATA_LOSS if a node of
// the tree is damaged.
absl::StatusOr<bool> IsSurelyNewest(const Core& core, const InodeItem& inode)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu) {
  if (!inode.whole_entry.has_value()) return false;
  // Ids are drawn once.
  if (core.identity.IsDataKey(inode.whole_entry->key_hash,
                              core.next_data_id.load())) {
    return true;
  }
  // A later entry under that key was written to this path, and is of this file.
  if (inode.moved || inode.first_name.place == 0) return false;
  VARVE_ASSIGN_OR_RETURN(const bool moved, core.reader().LiesInMoved(inode));
  return !moved;
}

}  // namespace

absl::StatusOr<std::optional<EntryKeys>> KeyOfContent(const Core& core,
                                                      const InodeItem& inode) {
  const std::optional<EntryKeys> nothing;
  if (!inode.is_regular()) return nothing;
  Extent entry;
  VARVE_ASSIGN_OR_RETURN(const bool is_newest, IsSurelyNewest(core, inode));
  if (inode.whole_entry.has_value()) {
    entry = inode.WholeExtent();
  } else {
    if (inode.extent_count == 0) return nothing;
    // A file that was plain and has been patched since.
    VARVE_ASSIGN_OR_RETURN(const std::string path, core.reader().PathOf(inode));
    const uint64_t path_hash = KeyHashOfPath(path);
    VARVE_RETURN_IF_ERROR(core.reader().ForEachExtent(
        inode, 0, kMaxFileSize, [&](const Extent& extent) {
          if (extent.key_hash == path_hash && !extent.shared) entry = extent;
          return true;
        }));
    if (entry.length == 0) return nothing;
  }
  if (!is_newest && core.store->Find(EntryKey::OfHash(entry.key_hash)) !=
                        entry.entry_metadata_offset()) {
    return nothing;
  }
  return std::optional(
      core.identity.KeysToHide(entry.key_hash, entry.entry_size));
}

uint64_t DataKeyFor(const Identity& identity,
                    const std::function<uint64_t()>& new_id,
                    absl::string_view head) {
  while (true) {
    const uint64_t id = new_id();
    const uint64_t key_hash = identity.DataKeyHash(id);
    // At kMaxId, ids are used up, and nothing will be committed.
    if (id >= kMaxId || !identity.WouldBeRecord(key_hash, head))
      return key_hash;
  }
}

std::string HeadOf(absl::Span<const absl::Span<const std::byte>> pieces) {
  std::string head;
  for (const absl::Span<const std::byte> piece : pieces) {
    const size_t room = Identity::kRecordHead - head.size();
    if (room == 0) break;
    head.append(reinterpret_cast<const char*>(piece.data()),
                std::min(room, piece.size()));
  }
  return head;
}

}  // namespace varve::fs
