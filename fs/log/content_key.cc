#include "fs/log/content_key.h"

#include <algorithm>

#include "fs/format/identity.h"

namespace varve::fs {
namespace {

constexpr uint64_t kMaxIdsTried = uint64_t{1} << 20;

}  // namespace

std::optional<uint64_t> KeyOfContent(const Store& store, const Inode& inode) {
  if (!inode.is_regular()) return std::nullopt;
  Extent entry;
  if (inode.whole_entry != Inode::kNone) {
    entry = inode.WholeExtent();
  } else {
    if (inode.detail == nullptr) return std::nullopt;
    // A file that was plain and has been patched since.
    const uint64_t path_hash = KeyHashOfPath(Tree::PathOf(inode));
    for (const auto& [offset, extent] : inode.detail->extents.extents()) {
      if (extent.key_hash == path_hash && !extent.shared) entry = extent;
    }
    if (entry.length == 0) return std::nullopt;
  }
  if (store.Find(EntryKey::OfHash(entry.key_hash)) !=
      entry.entry_metadata_offset()) {
    return std::nullopt;
  }
  return entry.key_hash;
}

void AddTombstoneOf(const Store& store, const Inode& inode, Commit& commit) {
  const std::optional<uint64_t> key = KeyOfContent(store, inode);
  if (key.has_value()) commit.AddTombstone(*key);
}

bool OwnsNewest(const Store& store, const Inode& inode, uint64_t key_hash) {
  const std::optional<uint64_t> newest = store.Find(EntryKey::OfHash(key_hash));
  if (!newest.has_value()) return false;
  if (inode.whole_entry != Inode::kNone) {
    return inode.WholeExtent().entry_metadata_offset() == *newest;
  }
  if (inode.detail == nullptr) return false;
  for (const auto& [offset, extent] : inode.detail->extents.extents()) {
    if (!extent.shared && extent.key_hash == key_hash &&
        extent.entry_metadata_offset() == *newest) {
      return true;
    }
  }
  return false;
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
