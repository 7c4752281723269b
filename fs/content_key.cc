#include "fs/content_key.h"

#include "fs/identity.h"

namespace varve::fs {

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
  if (store.FindHashed(entry.key_hash) != entry.entry_metadata_offset()) {
    return std::nullopt;
  }
  return entry.key_hash;
}

}  // namespace varve::fs
