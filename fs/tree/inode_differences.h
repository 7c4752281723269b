// InodeDifferences: what the items that differ between two moments of a tree
// say about its inodes and names. DiffPaths() makes lines of it.
//
// Not thread-safe.

#ifndef VARVE_FS_TREE_INODE_DIFFERENCES_H_
#define VARVE_FS_TREE_INODE_DIFFERENCES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/tree_diff.h"
#include "fs/format/extent.h"
#include "fs/tree/content_difference.h"
#include "fs/tree/items.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

// Makes paths of names. Remembers the path of the last directory, because names
// of one directory often come together.
class PathMaker {
 public:
  // `tree` must outlive this object.
  explicit PathMaker(const TreeReader* tree) : tree_(tree) {}

  // The path of a name in a directory. DATA_LOSS as for TreeReader.
  absl::StatusOr<std::string> PathIn(uint64_t directory,
                                     absl::string_view name);

 private:
  const TreeReader* const tree_;
  uint64_t directory_ = 0;  // 0: none yet
  std::string path_;
};

// A name that only one of the trees has.
struct LinkDifference {
  uint64_t ino = 0;
  uint8_t type = 0;  // as in NameItem
  std::string path;
};

// What users can see to differ in an inode; see PathDifference.
struct InodeDifference {
  uint64_t ino = 0;
  bool content = false;
  bool attributes = false;
  bool xattrs = false;
  uint64_t new_bytes = 0;

  bool any() const { return content || attributes || xattrs; }
};

// Compares two inodes and their contents, but not their extended attributes.
// `old_extents` and `new_extents` are extents that differ.
InodeDifference CompareInodes(const InodeItem& before, const InodeItem& after,
                              std::vector<Extent> old_extents,
                              std::vector<Extent> new_extents);

class InodeDifferences {
 public:
  // Finds all of them. DATA_LOSS as for DiffPaths().
  static absl::StatusOr<InodeDifferences> Find(const TreeReader& before,
                                               const TreeReader& after,
                                               NodeSharing sharing);

  // The inodes of both trees in which something differs, by number.
  const std::vector<InodeDifference>& inodes() const { return inodes_; }
  // The difference in an inode; nothing differs if it is not in both trees.
  InodeDifference Of(uint64_t ino) const;
  // The names that only the older or only the newer tree has, in no order. A
  // name is the same in both if it leads to the same inode, from a directory
  // that is the same inode, wherever that directory lies.
  std::vector<LinkDifference>& removed() { return removed_; }
  std::vector<LinkDifference>& added() { return added_; }

 private:
  struct Name {
    std::string text;
    uint64_t ino = 0;
    uint8_t type = 0;
  };
  // The items that differ of one inode. All come together.
  struct Pending {
    uint64_t ino = 0;
    bool inode_differs = false;
    std::optional<InodeItem> old_inode, new_inode;
    std::vector<Name> old_names, new_names;
    std::vector<Extent> old_extents, new_extents;
    bool xattrs = false;
  };

  InodeDifferences(const TreeReader& before, const TreeReader& after)
      : old_paths_(&before), new_paths_(&after) {}
  absl::Status Add(const ItemDifference& item);
  absl::Status AddItem(const ItemKey& key, const ItemDifference& item);
  // Ends with the items of an inode.
  absl::Status Finish();
  absl::Status FinishNames();

  PathMaker old_paths_;
  PathMaker new_paths_;
  Pending pending_;
  std::vector<InodeDifference> inodes_;
  std::vector<LinkDifference> removed_;
  std::vector<LinkDifference> added_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_INODE_DIFFERENCES_H_
