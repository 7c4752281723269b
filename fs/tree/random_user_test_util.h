// Helpers for tests that compare trees: a user who changes a tree at random,
// and what users see of a tree.

#ifndef VARVE_FS_TREE_RANDOM_USER_TEST_UTIL_H_
#define VARVE_FS_TREE_RANDOM_USER_TEST_UTIL_H_

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "engine/base/test_util.h"
#include "fs/format/change.h"
#include "fs/format/extent.h"
#include "fs/tree/items.h"
#include "fs/tree/moment_test_util.h"
#include "fs/tree/tree_reader.h"
#include "gtest/gtest.h"

namespace varve::fs {

// Extents of a RandomUser consist of blocks, and lie in entries of one size.
inline constexpr uint64_t kBlock = 16;
inline constexpr uint64_t kEntrySize = 20 * kBlock;

// What users see of a file or directory.
struct State {
  uint64_t ino = 0;
  // Of each block, where its bytes come from; empty for a hole.
  std::vector<std::string> blocks;
  std::string attributes;
  std::vector<std::pair<std::string, std::string>> xattrs;

  bool LooksLike(const State& other) const {
    return blocks == other.blocks && attributes == other.attributes &&
           xattrs == other.xattrs;
  }
};
using Paths = std::map<std::string, State>;

// A path as names.
inline std::vector<std::string> NamesIn(absl::string_view path) {
  if (path.empty()) return {};
  return absl::StrSplit(path, '/');
}
inline std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}
inline std::string NameOf(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}
inline std::string Join(const std::string& directory, absl::string_view name) {
  return absl::StrCat(directory, directory.empty() ? "" : "/", name);
}

inline State StateOf(const TreeReader& tree, const InodeItem& inode) {
  State state = {.ino = inode.ino};
  const Attributes& a = inode.attributes;
  state.attributes = absl::StrCat(a.mode, " ", a.uid, " ", a.gid, " ", a.rdev);
  if (!inode.is_directory()) {
    absl::StrAppend(&state.attributes, " ", a.mtime.packed());
  }
  const std::vector<Extent> extents = *tree.Cover(inode, 0, a.size);
  for (const Extent& extent : extents) {
    for (uint64_t at = 0; at < extent.length; at += kBlock) {
      state.blocks.push_back(extent.is_hole()
                                 ? ""
                                 : absl::StrCat(extent.entry_crc32, "@",
                                                extent.entry_offset + at));
    }
  }
  state.xattrs = *tree.AllXattrs(inode.ino);
  return state;
}

inline void CollectPaths(const TreeReader& tree, const std::string& path,
                         uint64_t ino, Paths* paths) {
  const InodeItem inode = *tree.GetInode(ino);
  paths->emplace(path, StateOf(tree, inode));
  EXPECT_THAT(tree.ForEachNameAfter({ino, 0},
                                    [&](const NameItem& name) {
                                      CollectPaths(tree, Join(path, name.text),
                                                   name.ino, paths);
                                      return true;
                                    }),
              IsOk());
}

inline Paths AllPaths(const TreeReader& tree) {
  Paths paths;
  CollectPaths(tree, "", kRootIno, &paths);
  return paths;
}

// Changes a tree as users do.
class RandomUser {
 public:
  RandomUser(uint64_t seed, ChangingTree* tree) : random_(seed), tree_(tree) {}

  void Act() {
    paths_ = AllPaths(tree_->tree());
    changes_.clear();
    switch (Below(12)) {
      case 0:
      case 1:
        Make(S_IFREG);
        break;
      case 2:
        Make(S_IFDIR);
        break;
      case 3:
        Link();
        break;
      case 4:
      case 5:
      case 6:
        Rename();
        break;
      case 7:
        Remove(AnyPath());
        break;
      case 8:
        ChangeAttributes();
        break;
      case 9:
        ChangeXattrs();
        break;
      case 10:
        Rebuild(AnyDirectory());
        break;
      default:
        Write();
        break;
    }
    if (!changes_.empty()) tree_->Apply(changes_);
  }

 private:
  static constexpr absl::string_view kNames[] = {"a", "a-", "b", "c", "\xff"};

  uint64_t Below(uint64_t n) {
    return std::uniform_int_distribution<uint64_t>(0, n - 1)(random_);
  }
  std::string AnyPath() {
    return std::next(paths_.begin(), ptrdiff_t(Below(paths_.size())))->first;
  }
  InodeItem At(const std::string& path) {
    return *tree_->tree().GetInode(paths_.at(path).ino);
  }
  std::string AnyDirectory() {
    std::string path = AnyPath();
    return At(path).is_directory() ? path : ParentOf(path);
  }
  absl::string_view AnyName() { return kNames[Below(std::size(kNames))]; }
  static absl::string_view Lasting(absl::string_view name) {
    return *std::find(std::begin(kNames), std::end(kNames), name);
  }
  static bool IsWithin(const std::string& path, const std::string& directory) {
    return directory.empty() || path == directory ||
           absl::StartsWith(path, directory + "/");
  }

  void PutAt(const std::string& directory, absl::string_view name,
             uint64_t ino) {
    changes_.push_back(PutName{paths_.at(directory).ino, ino, name});
  }
  void DropAt(const std::string& path) {
    changes_.push_back(
        DropName{paths_.at(ParentOf(path)).ino, Lasting(NameOf(path))});
  }
  // Removes a path with all below it.
  void Remove(const std::string& path) {
    if (path.empty()) return;
    std::map<uint64_t, uint32_t> dropped;
    // What lies in directories comes before these.
    for (auto it = paths_.rbegin(); it != paths_.rend(); ++it) {
      if (!IsWithin(it->first, path)) continue;
      const InodeItem inode = At(it->first);
      DropAt(it->first);
      if (inode.is_directory() || ++dropped[inode.ino] == inode.links) {
        changes_.push_back(DropInode{inode.ino});
      }
    }
  }
  void Make(uint32_t type) {
    const std::string directory = AnyDirectory();
    const absl::string_view name = AnyName();
    const std::string path = Join(directory, name);
    if (paths_.contains(path)) Remove(path);
    const uint64_t ino = next_ino_++;
    changes_.push_back(
        PutInode{.ino = ino,
                 .attributes = {.mode = type | (0600 + uint32_t(Below(2)))}});
    PutAt(directory, name, ino);
  }
  void Link() {
    const std::string path = AnyPath();
    const std::string directory = AnyDirectory();
    const absl::string_view name = AnyName();
    if (At(path).is_directory() || paths_.contains(Join(directory, name))) {
      return;
    }
    PutAt(directory, name, paths_.at(path).ino);
  }
  void Rename() {
    const std::string from = AnyPath();
    const std::string directory = AnyDirectory();
    const absl::string_view name = AnyName();
    const std::string to = Join(directory, name);
    if (from.empty() || to == from || IsWithin(directory, from) ||
        IsWithin(from, to)) {
      return;
    }
    const uint64_t ino = paths_.at(from).ino;
    if (!paths_.contains(to)) {
      DropAt(from);
      PutAt(directory, name, ino);
      return;
    }
    const uint64_t other = paths_.at(to).ino;
    if (other == ino) return;
    if (Below(2) == 0) {  // exchange them
      DropAt(from);
      DropAt(to);
      PutAt(directory, name, ino);
      PutAt(ParentOf(from), Lasting(NameOf(from)), other);
      return;
    }
    Remove(to);
    DropAt(from);
    PutAt(directory, name, ino);
  }
  // Renames a directory, and puts another in its place, with some of what was
  // in it.
  void Rebuild(const std::string& path) {
    const std::string parent = ParentOf(path);
    const absl::string_view name = AnyName();
    if (path.empty() || paths_.contains(Join(parent, name))) return;
    const uint64_t old_ino = paths_.at(path).ino;
    const uint64_t new_ino = next_ino_++;
    DropAt(path);
    PutAt(parent, name, old_ino);
    changes_.push_back(
        PutInode{.ino = new_ino, .attributes = At(path).attributes});
    PutAt(parent, Lasting(NameOf(path)), new_ino);
    for (const auto& [child, state] : paths_) {
      if (child.empty() || ParentOf(child) != path || Below(3) == 0) continue;
      const absl::string_view text = Lasting(NameOf(child));
      changes_.push_back(DropName{old_ino, text});
      changes_.push_back(PutName{new_ino, state.ino, text});
    }
  }
  void ChangeAttributes() {
    InodeItem inode = At(AnyPath());
    Attributes& attributes = inode.attributes;
    if (Below(3) == 0) attributes.mode ^= 1;
    if (Below(3) == 0) attributes.uid = uint32_t(Below(2));
    if (Below(3) == 0) attributes.mtime = ChangingTree::At(Below(2));
    if (Below(3) == 0) attributes.atime = ChangingTree::At(Below(9));
    attributes.ctime = ChangingTree::At(tree_->time());
    changes_.push_back(PutInode{inode.ino, attributes});
  }
  void ChangeXattrs() {
    const uint64_t ino = paths_.at(AnyPath()).ino;
    const absl::string_view name = AnyName();
    if (tree_->tree().FindXattr(ino, name)->has_value() && Below(2) == 0) {
      changes_.push_back(DropXattr{ino, name});
    } else {
      value_ = std::string(Below(3) * 2000, char('x' + Below(2)));
      changes_.push_back(SetXattr{ino, name, value_});
    }
  }
  // An extent whose bytes may lie in several places of the store.
  Extent AnyExtent(uint64_t at, uint64_t length) {
    const uint64_t entry = 1 + Below(2);
    const uint64_t begin = kBlock * Below((kEntrySize - length) / kBlock + 1);
    return {.file_offset = at,
            .length = length,
            .store_offset = 4096 * (entry + 2 * Below(2)) + begin,
            .key_hash = entry,
            .entry_offset = begin,
            .entry_size = kEntrySize,
            .entry_crc32 = uint32_t(entry)};
  }
  void Write() {
    InodeItem inode = At(AnyPath());
    if (inode.is_directory()) return;
    Attributes& attributes = inode.attributes;
    const uint64_t offset = kBlock * Below(20);
    const uint64_t length = kBlock * (1 + Below(10));
    switch (Below(4)) {
      case 0:  // one entry
        attributes.size = kEntrySize;
        changes_.push_back(PutInode{inode.ino, attributes});
        changes_.push_back(SetContent{inode.ino, {AnyExtent(0, kEntrySize)}});
        return;
      case 1:  // truncate
        attributes.size = offset;
        changes_.push_back(PutInode{inode.ino, attributes});
        return;
      case 2:  // punch a hole
        changes_.push_back(
            PatchContent{inode.ino, {Extent::Hole(offset, length)}});
        return;
      default:
        attributes.size = std::max(attributes.size, offset + length);
        changes_.push_back(PutInode{inode.ino, attributes});
        changes_.push_back(
            PatchContent{inode.ino, {AnyExtent(offset, length)}});
        return;
    }
  }

  std::mt19937_64 random_;
  ChangingTree* const tree_;
  uint64_t next_ino_ = 2;
  Paths paths_;
  std::vector<Change> changes_;
  std::string value_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_RANDOM_USER_TEST_UTIL_H_
