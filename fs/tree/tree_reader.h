// TreeReader: the tree of directories and files that the items of a layered B+
// tree make: the newest state, a past one, or one with changes that are being
// planned. The same code reads any of them.
//
// Items that contradict each other, as only a damaged or a hostile store has
// them, are DATA_LOSS, which each of these functions may return; none of them
// runs in circles then.
//
// Thread-safe, as long as nobody changes the layers. Views lie in the layers,
// and are valid as long as those are, unchanged.

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
  // `items` must outlive the reader. `seed` is that of the tree's name hashes:
  // secret, so that nobody can make up names of one hash.
  TreeReader(const LayeredTree* items, uint64_t seed)
      : items_(items), seed_(seed) {}

  // --- Inodes and names ---

  // The inode; nothing if there is none of that number.
  absl::StatusOr<std::optional<InodeItem>> FindInode(uint64_t ino) const;
  // The same, but DATA_LOSS if there is none: for numbers from the tree itself.
  absl::StatusOr<InodeItem> GetInode(uint64_t ino) const;
  // The name in a directory; nothing if there is none.
  absl::StatusOr<std::optional<NameItem>> FindName(
      uint64_t directory, absl::string_view name) const;
  // The name at a place; DATA_LOSS if there is none.
  absl::StatusOr<NameItem> GetName(NamePlace place) const;
  // Resolves a path relative to the root ("a/b/c", "" is the root) without
  // following symlinks; nothing if it does not exist.
  absl::StatusOr<std::optional<InodeItem>> Resolve(
      absl::string_view path) const;

  // Calls `visit` with the names in a directory whose place is above `place`,
  // in order, until it returns false.
  absl::Status ForEachNameAfter(
      NamePlace place, absl::FunctionRef<bool(const NameItem&)> visit) const;
  // Calls `visit` with the place of each name of the inode, the first one
  // first, until it returns false.
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
  // Whether a directory that it lies in has been moved (see InodeItem).
  absl::StatusOr<bool> LiesInMoved(const InodeItem& inode) const;
  // Whether the inode is the directory of that number or lies below it.
  absl::StatusOr<bool> IsWithin(const InodeItem& inode,
                                uint64_t directory) const;

  // --- Content ---

  // Calls `visit` with what is not a hole in [begin, end) of the file, in
  // order, until it returns false. An extent that reaches across an end is
  // given whole.
  absl::Status ForEachExtent(
      const InodeItem& inode, uint64_t begin, uint64_t end,
      absl::FunctionRef<bool(const Extent&)> visit) const;
  // Data and holes, in order, that together cover [begin, end).
  absl::StatusOr<std::vector<Extent>> Cover(const InodeItem& inode,
                                            uint64_t begin, uint64_t end) const;
  // The first offset at or after `offset` that is data (or a hole); the size of
  // the file if there is none before it.
  absl::StatusOr<uint64_t> NextData(const InodeItem& inode,
                                    uint64_t offset) const;
  absl::StatusOr<uint64_t> NextHole(const InodeItem& inode,
                                    uint64_t offset) const;

  // --- Extended attributes ---

  // The value; nothing if the inode does not have it.
  absl::StatusOr<std::optional<std::string>> FindXattr(
      uint64_t ino, absl::string_view name) const;
  // Calls `visit` with the name of each, sorted, until it returns false.
  absl::Status ForEachXattr(
      uint64_t ino, absl::FunctionRef<bool(absl::string_view)> visit) const;

  // All of them, names and values, sorted by name.
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> AllXattrs(
      uint64_t ino) const;

  // --- The tree as a whole ---

  // Calls `visit` with the ranges [begin, end) of data ids that an unclean stop
  // left without a commit, in order, until it returns false.
  absl::Status ForEachUnfinished(
      absl::FunctionRef<bool(uint64_t begin, uint64_t end)> visit) const;

  // The hash that a name is found by.
  uint64_t HashOf(absl::string_view name) const;

  const LayeredTree& items() const { return *items_; }

 private:
  // Calls `visit` with the items from `first` on whose keys begin with
  // `prefix`, until it returns false.
  absl::Status ForEachItem(
      absl::string_view first, absl::string_view prefix,
      absl::FunctionRef<absl::StatusOr<bool>(const ItemKey&, absl::string_view)>
          visit) const;

  const LayeredTree* items_;
  uint64_t seed_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_READER_H_
