// TreeReader: reads the items of a layered B+ tree as a tree of directories and
// files. The items may be those of the newest state, of a past one, or of one
// with changes that are being planned.
//
// Each function may return DATA_LOSS: if a node is damaged, or if items
// contradict each other, as only those of a damaged or hostile store do. No
// function loops forever then.
//
// Thread-safe as long as nobody changes the layers. Views point into the
// layers, and are valid until a layer changes or is destroyed.

#ifndef VARVE_FS_TREE_TREE_READER_H_
#define VARVE_FS_TREE_TREE_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/overlay.h"
#include "fs/format/extent.h"
#include "fs/tree/items.h"

namespace varve::fs {

class TreeReader {
 public:
  // `items` must outlive the reader. `seed` is the seed of the tree's name
  // hashes. It is secret, so that nobody can make up many names with the same
  // hash.
  TreeReader(const LayeredTree* items, uint64_t seed)
      : items_(items), seed_(seed) {}

  // --- Inodes and names ---

  // The inode; nothing if there is none with this number.
  absl::StatusOr<std::optional<InodeItem>> FindInode(uint64_t ino) const;
  // The same for a number that the tree itself names: DATA_LOSS if there is
  // none.
  absl::StatusOr<InodeItem> GetInode(uint64_t ino) const;
  // The name in a directory; nothing if there is none.
  absl::StatusOr<std::optional<NameItem>> FindName(
      uint64_t directory, absl::string_view name) const;
  // The name at this place, which the tree itself names; DATA_LOSS if there is
  // none.
  absl::StatusOr<NameItem> GetName(NamePlace place) const;
  // Resolves a path relative to the root ("a/b/c", "" is the root) without
  // following symlinks; nothing if it does not exist.
  absl::StatusOr<std::optional<InodeItem>> Resolve(
      absl::string_view path) const;

  // Calls `visit` with the names in a directory whose place is above `place`,
  // in order, until it returns false.
  absl::Status ForEachNameAfter(
      NamePlace place, absl::FunctionRef<bool(const NameItem&)> visit) const;
  // Calls `visit` with the place of each name of the inode, beginning with the
  // first name, until it returns false.
  absl::Status ForEachLink(const InodeItem& inode,
                           absl::FunctionRef<bool(NamePlace)> visit) const;
  // Calls `visit` with every inode, by number, until it returns false.
  absl::Status ForEachInode(
      absl::FunctionRef<bool(const InodeItem&)> visit) const;

  // The path of a name, without leading slash, or of an inode by its first
  // name; "" for the root, and for an inode without a name.
  absl::StatusOr<std::string> PathOf(NamePlace name) const;
  absl::StatusOr<std::string> PathOf(const InodeItem& inode) const {
    return PathOf(inode.first_name);
  }
  // The path that a name in a directory has or would have.
  absl::StatusOr<std::string> PathIn(const InodeItem& directory,
                                     absl::string_view name) const;
  // Whether a directory that the inode lies in has been moved (see InodeItem).
  absl::StatusOr<bool> LiesInMoved(const InodeItem& inode) const;
  // Whether the inode is this directory or lies below it.
  absl::StatusOr<bool> IsWithin(const InodeItem& inode,
                                uint64_t directory) const;

  // --- Content ---

  // Calls `visit` with each extent in [begin, end) of the file that is not a
  // hole, in order, until it returns false. An extent that crosses `begin` or
  // `end` is not cut.
  absl::Status ForEachExtent(
      const InodeItem& inode, uint64_t begin, uint64_t end,
      absl::FunctionRef<bool(const Extent&)> visit) const;
  // Extents and holes, in order, that together cover exactly [begin, end).
  absl::StatusOr<std::vector<Extent>> Cover(const InodeItem& inode,
                                            uint64_t begin, uint64_t end) const;
  // The first offset at or after `offset` that is in data (or in a hole); the
  // size of the file if there is none.
  absl::StatusOr<uint64_t> NextData(const InodeItem& inode,
                                    uint64_t offset) const;
  absl::StatusOr<uint64_t> NextHole(const InodeItem& inode,
                                    uint64_t offset) const;

  // --- Extended attributes ---

  // The value; nothing if the inode does not have it.
  absl::StatusOr<std::optional<std::string>> FindXattr(
      uint64_t ino, absl::string_view name) const;
  // Calls `visit` with the name of each attribute, sorted, until it returns
  // false.
  absl::Status ForEachXattr(
      uint64_t ino, absl::FunctionRef<bool(absl::string_view)> visit) const;

  // All attributes, names and values, sorted by name.
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> AllXattrs(
      uint64_t ino) const;

  // --- The tree as a whole ---

  // Calls `visit` with the ranges [begin, end) of data ids that an unclean stop
  // left without a commit, in order, until it returns false.
  absl::Status ForEachUnfinished(
      absl::FunctionRef<bool(uint64_t begin, uint64_t end)> visit) const;

  // --- History ---

  // Calls `visit` with each snapshot, by name, until it returns false.
  absl::Status ForEachSnapshot(
      absl::FunctionRef<bool(const SnapshotItem&)> visit) const;
  // The snapshot with this name; nothing if there is none. Its name is that of
  // the argument.
  absl::StatusOr<std::optional<SnapshotItem>> FindSnapshot(
      absl::string_view name) const;
  // The moments from the commit of this number on are all kept; 0 for all.
  absl::StatusOr<uint64_t> KeptFrom() const;
  // The policy's text; nothing if none was set.
  absl::StatusOr<std::optional<std::string>> Policy() const;
  // The paths that past moments no longer have.
  absl::StatusOr<std::vector<PurgedPath>> PurgedPaths() const;

  // The hash by which a name is found.
  uint64_t HashOf(absl::string_view name) const;

  const LayeredTree& items() const { return *items_; }

 private:
  // Calls `visit` with the items from `first` on, as long as their keys begin
  // with `prefix` and it returns true.
  absl::Status ForEachItem(
      absl::string_view first, absl::string_view prefix,
      absl::FunctionRef<absl::StatusOr<bool>(const ItemKey&, absl::string_view)>
          visit) const;

  const LayeredTree* items_;
  uint64_t seed_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_READER_H_
