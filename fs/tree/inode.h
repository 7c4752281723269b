// Inode: one file, directory, symlink or device of Tree (tree.h), the model for
// tests. Thread rules: as Tree.

#ifndef VARVE_FS_TREE_INODE_H_
#define VARVE_FS_TREE_INODE_H_

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "fs/format/change.h"
#include "fs/format/extent.h"
#include "fs/tree/directory.h"

namespace varve::fs {

using XattrMap = absl::btree_map<std::string, std::string>;

// The fields that a file whose content is one whole entry does not need.
struct InodeDetail {
  ExtentMap extents;     // of files and symlinks
  uint64_t patched = 0;  // bytes laid over the content since it was set
  Directory names;       // of directories
  XattrMap xattrs;
};

// Trees have many inodes, so the fields are ordered to leave no gaps.
struct Inode {
  static constexpr uint64_t kNone = ~uint64_t{0};

  uint64_t ino = 0;
  Attributes attributes;
  uint32_t link_count = 0;  // as st_nlink: names, and ".." of subdirectories
  uint32_t whole_entry_crc32 = 0;  // see whole_entry
  Name* names = nullptr;           // the first one decides the inode's path
  // If the content is one whole entry: where its payload starts in the store,
  // and its key hash. Otherwise kNone, and the content is in detail->extents.
  uint64_t whole_entry = kNone;
  uint64_t whole_entry_hash = 0;
  std::unique_ptr<InodeDetail> detail;

  // How many references the kernel holds to this inode.
  mutable std::atomic<uint32_t> kernel_references{0};
  // Whether the entry at whole_entry has been compared with its checksum.
  mutable std::atomic<bool> verified{false};

  Inode() = default;
  // Only for an inode that has no name, because then nothing points to it.
  Inode(Inode&& other) noexcept
      : ino(other.ino),
        attributes(other.attributes),
        link_count(other.link_count),
        whole_entry_crc32(other.whole_entry_crc32),
        names(std::exchange(other.names, nullptr)),
        whole_entry(other.whole_entry),
        whole_entry_hash(other.whole_entry_hash),
        detail(std::move(other.detail)),
        kernel_references(other.kernel_references.load()),
        verified(other.verified.load()) {}
  Inode& operator=(Inode&&) = delete;

  bool is_directory() const { return S_ISDIR(attributes.mode); }
  bool is_regular() const { return S_ISREG(attributes.mode); }
  bool is_symlink() const { return S_ISLNK(attributes.mode); }
  bool is_root() const { return ino == kRootIno; }
  // The directory that holds this one; itself for the root.
  const Inode* parent() const { return names ? names->parent : this; }
  uint32_t nlink() const { return link_count; }
  // Bytes of its content that are not holes.
  uint64_t data_bytes() const {
    if (whole_entry != kNone) return attributes.size;
    return detail == nullptr ? 0 : detail->extents.data_bytes();
  }
  // The value of an extended attribute; null if it does not have it.
  const std::string* FindXattr(absl::string_view name) const;
  // The names in this directory.
  const Directory& directory() const { return detail->names; }
  // The extent of a whole_entry.
  Extent WholeExtent() const {
    return {.file_offset = 0,
            .length = attributes.size,
            .store_offset = whole_entry,
            .key_hash = whole_entry_hash,
            .entry_offset = 0,
            .entry_size = attributes.size,
            .entry_crc32 = whole_entry_crc32};
  }
};
static_assert(sizeof(Inode) == 120);

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_INODE_H_
