#include "fs/log/content_key.h"

#include <algorithm>

#include "engine/base/status.h"

namespace varve::fs {
namespace {

constexpr uint64_t kMaxIdsTried = uint64_t{1} << 20;

}  // namespace

absl::StatusOr<std::optional<uint64_t>> KeyOfContent(const Core& core,
                                                     const InodeItem& inode) {
  const std::optional<uint64_t> nothing;
  if (!inode.is_regular()) return nothing;
  Extent entry;
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
  if (core.store->Find(EntryKey::OfHash(entry.key_hash)) !=
      entry.entry_metadata_offset()) {
    return nothing;
  }
  return std::optional(entry.key_hash);
}

absl::StatusOr<bool> OwnsNewest(const Core& core, const InodeItem& inode,
                                uint64_t key_hash) {
  const std::optional<uint64_t> newest =
      core.store->Find(EntryKey::OfHash(key_hash));
  if (!newest.has_value()) return false;
  bool owns = false;
  VARVE_RETURN_IF_ERROR(core.reader().ForEachExtent(
      inode, 0, kMaxFileSize, [&](const Extent& extent) {
        owns = !extent.shared && extent.key_hash == key_hash &&
               extent.entry_metadata_offset() == *newest;
        return !owns;
      }));
  return owns;
}

bool IsTreesOwn(const Store& store, const Identity& identity,
                uint64_t next_data_id, uint64_t key_hash) {
  const absl::StatusOr<EntryView> newest =
      store.Read(EntryKey::OfHash(key_hash));
  if (absl::IsNotFound(newest.status())) return false;
  // What cannot be read, or told from data, may be anybody's.
  if (!newest.ok() || identity.AsCommit(*newest).has_value()) return true;
  // Whether it is data is not looked up among more ids than take some ms.
  if (next_data_id > kMaxIdsTried) return true;
  for (uint64_t id = 1; id < next_data_id; ++id) {
    if (identity.DataKeyHash(id) == key_hash) return true;
  }
  return false;
}

bool MayLieUnderPath(const Core& core, uint64_t path_hash, bool owns_newest,
                     absl::string_view head) {
  if (core.identity.Reserves(path_hash, head)) return false;
  return owns_newest || !IsTreesOwn(*core.store, core.identity,
                                    core.next_data_id.load(), path_hash);
}

uint64_t DataKeyFor(const Identity& identity,
                    const std::function<uint64_t()>& new_id,
                    absl::string_view head) {
  while (true) {
    const uint64_t id = new_id();
    const uint64_t key_hash = identity.DataKeyHash(id);
    // There are no more ids then, and nothing will be committed.
    if (id >= kMaxId || !identity.Reserves(key_hash, head)) return key_hash;
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
