#include "fs/tree/tree_difference.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/btree/node.h"
#include "fs/tree/inode_differences.h"

namespace varve::fs {
namespace {

using Kind = PathDifference::Kind;

// Orders paths such that what lies in a directory comes right behind it.
bool PathPrecedes(absl::string_view a, absl::string_view b) {
  const size_t at = CommonPrefix(a, b);
  if (at == a.size() || at == b.size()) return a.size() < b.size();
  // Names have no NUL, so this puts the slash before all else.
  const auto rank = [](char c) {
    return c == '/' ? 0 : static_cast<uint8_t>(c);
  };
  return rank(a[at]) < rank(b[at]);
}

bool LinkPrecedes(const LinkDifference& a, const LinkDifference& b) {
  return a.ino != b.ino ? a.ino < b.ino : PathPrecedes(a.path, b.path);
}

bool IsWithin(absl::string_view path, absl::string_view directory) {
  return directory.empty() || path == directory ||
         (absl::StartsWith(path, directory) && path[directory.size()] == '/');
}

// A PathDifference before its inodes are read.
struct Line {
  Kind kind = Kind::kModified;
  bool replaced = false;
  bool says_nothing = false;
  uint64_t old_ino = 0;
  InodeDifference inode;  // of the newer tree
  std::string path;
  std::string moved_from;  // the older path; empty if that is `path`

  absl::string_view old_path() const {
    if (kind == Kind::kAdded) return {};
    return moved_from.empty() ? path : moved_from;
  }
};

class PathLister {
 public:
  PathLister(const TreeReader& before, const TreeReader& after,
             InodeDifferences differences)
      : before_(before),
        after_(after),
        differences_(std::move(differences)),
        old_paths_(&before),
        new_paths_(&after) {}

  // Makes all lines.
  absl::Status Make();
  absl::Status Visit(
      absl::string_view below,
      absl::FunctionRef<absl::StatusOr<bool>(const PathDifference&)> visit);

 private:
  // Add lines of modified files and directories, under names that both trees
  // have.
  absl::Status AddModified();
  absl::Status AddModified(const InodeDifference& inode, NamePlace place);
  // Adds lines of renamed files. Puts the names that are left into the lists.
  void AddRenamed(std::vector<LinkDifference>* removed,
                  std::vector<LinkDifference>* added);
  // Adds lines of the other names, sorted by path.
  absl::Status AddOthers(std::vector<LinkDifference> removed,
                         std::vector<LinkDifference> added);
  absl::Status AddReplaced(const LinkDifference& removed,
                           LinkDifference& added);
  void AddRemoved(LinkDifference& removed);
  void AddAdded(LinkDifference& added);
  // Drops lines that say nothing.
  void DropUnseen();
  // The new bytes that the line should count.
  absl::StatusOr<uint64_t> NewBytes(const Line& line, const InodeItem& inode);

  const TreeReader& before_;
  const TreeReader& after_;
  InodeDifferences differences_;
  PathMaker old_paths_;
  PathMaker new_paths_;
  std::vector<Line> lines_;
  // The inodes with several names whose new bytes were counted.
  absl::flat_hash_set<uint64_t> counted_;
};

absl::Status PathLister::Make() {
  std::vector<LinkDifference>& removed = differences_.removed();
  std::vector<LinkDifference>& added = differences_.added();
  std::sort(removed.begin(), removed.end(), LinkPrecedes);
  std::sort(added.begin(), added.end(), LinkPrecedes);
  VARVE_RETURN_IF_ERROR(AddModified());
  std::vector<LinkDifference> removed_only;
  std::vector<LinkDifference> added_only;
  AddRenamed(&removed_only, &added_only);
  VARVE_RETURN_IF_ERROR(
      AddOthers(std::move(removed_only), std::move(added_only)));
  DropUnseen();
  return absl::OkStatus();
}

absl::Status PathLister::AddModified() {
  for (const InodeDifference& inode : differences_.inodes()) {
    if (inode.ino == kRootIno) {
      lines_.push_back({.old_ino = kRootIno, .inode = inode});
      continue;
    }
    VARVE_ASSIGN_OR_RETURN(const InodeItem item, after_.GetInode(inode.ino));
    absl::Status status;
    VARVE_RETURN_IF_ERROR(after_.ForEachLink(item, [&](NamePlace place) {
      status = AddModified(inode, place);
      return status.ok();
    }));
    VARVE_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status PathLister::AddModified(const InodeDifference& inode,
                                     NamePlace place) {
  VARVE_ASSIGN_OR_RETURN(const NameItem name, after_.GetName(place));
  if (name.ino != inode.ino) {
    return DamageError(absl::StrCat("inode ", inode.ino,
                                    " of the tree has a name that leads to ",
                                    name.ino));
  }
  LinkDifference link = {.ino = inode.ino};
  VARVE_ASSIGN_OR_RETURN(link.path,
                         new_paths_.PathIn(place.directory, name.text));
  const std::vector<LinkDifference>& added = differences_.added();
  if (std::binary_search(added.begin(), added.end(), link, LinkPrecedes)) {
    return absl::OkStatus();  // has a line of its own
  }
  Line line = {.old_ino = inode.ino, .inode = inode};
  VARVE_ASSIGN_OR_RETURN(line.moved_from,
                         old_paths_.PathIn(place.directory, name.text));
  if (line.moved_from == link.path) line.moved_from.clear();
  line.path = std::move(link.path);
  lines_.push_back(std::move(line));
  return absl::OkStatus();
}

void PathLister::AddRenamed(std::vector<LinkDifference>* removed,
                            std::vector<LinkDifference>* added) {
  std::vector<LinkDifference>& old_links = differences_.removed();
  std::vector<LinkDifference>& new_links = differences_.added();
  auto old_link = old_links.begin();
  auto new_link = new_links.begin();
  while (old_link != old_links.end() || new_link != new_links.end()) {
    if (new_link == new_links.end() ||
        (old_link != old_links.end() && old_link->ino < new_link->ino)) {
      removed->push_back(std::move(*old_link++));
    } else if (old_link == old_links.end() || new_link->ino < old_link->ino) {
      added->push_back(std::move(*new_link++));
    } else {
      lines_.push_back({.kind = Kind::kRenamed,
                        .old_ino = old_link->ino,
                        .inode = differences_.Of(new_link->ino),
                        .path = std::move(new_link->path),
                        .moved_from = std::move(old_link->path)});
      ++old_link;
      ++new_link;
    }
  }
}

void PathLister::AddRemoved(LinkDifference& removed) {
  lines_.push_back({.kind = Kind::kRemoved,
                    .old_ino = removed.ino,
                    .path = std::move(removed.path)});
}

void PathLister::AddAdded(LinkDifference& added) {
  lines_.push_back({.kind = Kind::kAdded,
                    .inode = differences_.Of(added.ino),
                    .path = std::move(added.path)});
}

absl::Status PathLister::AddReplaced(const LinkDifference& removed,
                                     LinkDifference& added) {
  VARVE_ASSIGN_OR_RETURN(const InodeItem old_inode,
                         before_.GetInode(removed.ino));
  VARVE_ASSIGN_OR_RETURN(const InodeItem new_inode, after_.GetInode(added.ino));
  std::vector<Extent> old_extents;
  std::vector<Extent> new_extents;
  const auto collect = [](const TreeReader& tree, const InodeItem& inode,
                          std::vector<Extent>* extents) {
    return tree.ForEachExtent(inode, 0, kMaxFileSize,
                              [extents](const Extent& extent) {
                                extents->push_back(extent);
                                return true;
                              });
  };
  // CompareInodes() sees to contents that are one whole entry.
  if (!old_inode.whole_entry.has_value()) {
    VARVE_RETURN_IF_ERROR(collect(before_, old_inode, &old_extents));
  }
  if (!new_inode.whole_entry.has_value()) {
    VARVE_RETURN_IF_ERROR(collect(after_, new_inode, &new_extents));
  }
  Line line = {.replaced = true, .old_ino = removed.ino};
  line.inode = CompareInodes(old_inode, new_inode, std::move(old_extents),
                             std::move(new_extents));
  VARVE_ASSIGN_OR_RETURN(const auto old_xattrs, before_.AllXattrs(removed.ino));
  VARVE_ASSIGN_OR_RETURN(const auto new_xattrs, after_.AllXattrs(added.ino));
  line.inode.xattrs = old_xattrs != new_xattrs;
  line.path = std::move(added.path);
  lines_.push_back(std::move(line));
  return absl::OkStatus();
}

absl::Status PathLister::AddOthers(std::vector<LinkDifference> removed,
                                   std::vector<LinkDifference> added) {
  const auto by_path = [](const LinkDifference& a, const LinkDifference& b) {
    return PathPrecedes(a.path, b.path);
  };
  std::sort(removed.begin(), removed.end(), by_path);
  std::sort(added.begin(), added.end(), by_path);
  auto old_link = removed.begin();
  auto new_link = added.begin();
  while (old_link != removed.end() || new_link != added.end()) {
    if (new_link == added.end() ||
        (old_link != removed.end() && by_path(*old_link, *new_link))) {
      AddRemoved(*old_link++);
    } else if (old_link == removed.end() || by_path(*new_link, *old_link)) {
      AddAdded(*new_link++);
    } else if (old_link->type == new_link->type) {
      VARVE_RETURN_IF_ERROR(AddReplaced(*old_link++, *new_link++));
    } else {
      AddRemoved(*old_link++);
      AddAdded(*new_link++);
    }
  }
  return absl::OkStatus();
}

void PathLister::DropUnseen() {
  const auto stays = [](const Line& line) {
    return line.kind == Kind::kRenamed ? line.moved_from == line.path
                                       : line.replaced && !line.inode.any();
  };
  std::vector<size_t> candidates;
  for (size_t i = 0; i < lines_.size(); ++i) {
    if (stays(lines_[i])) candidates.push_back(i);
  }
  if (candidates.empty()) return;
  // For former paths that have a line, whether they lead elsewhere now, or
  // nowhere. What lay there would be thought to have gone along, if it had no
  // line of its own.
  absl::flat_hash_map<absl::string_view, bool> is_gone;
  for (const Line& line : lines_) {
    if (stays(line)) continue;
    if (line.kind == Kind::kRemoved || line.kind == Kind::kRenamed) {
      is_gone[line.old_path()] = true;
    } else if (line.replaced) {
      is_gone[line.old_path()] = false;
    }
  }
  const auto lay_in_gone = [&is_gone](absl::string_view path) {
    for (size_t slash = path.rfind('/'); slash != absl::string_view::npos;
         slash = path.rfind('/')) {
      path = path.substr(0, slash);
      const auto it = is_gone.find(path);
      if (it != is_gone.end()) return it->second;
    }
    return false;
  };
  std::sort(candidates.begin(), candidates.end(), [this](size_t a, size_t b) {
    return PathPrecedes(lines_[a].path, lines_[b].path);
  });
  for (const size_t i : candidates) {
    Line& line = lines_[i];
    if (lay_in_gone(line.path)) {
      is_gone[line.path] = false;
    } else {
      line.kind = Kind::kModified;
      line.says_nothing = !line.inode.any();
    }
  }
  lines_.erase(
      std::remove_if(lines_.begin(), lines_.end(),
                     [](const Line& line) { return line.says_nothing; }),
      lines_.end());
}

absl::StatusOr<uint64_t> PathLister::NewBytes(const Line& line,
                                              const InodeItem& inode) {
  uint64_t bytes = line.inode.new_bytes;
  if (line.kind == Kind::kAdded && bytes == 0) {
    VARVE_ASSIGN_OR_RETURN(const auto older, before_.FindInode(inode.ino));
    if (!older.has_value()) bytes = inode.data_bytes();
  }
  const bool has_more_names = !inode.is_directory() && inode.links > 1;
  if (bytes > 0 && has_more_names && !counted_.insert(inode.ino).second) {
    return 0;
  }
  return bytes;
}

absl::Status PathLister::Visit(
    absl::string_view below,
    absl::FunctionRef<absl::StatusOr<bool>(const PathDifference&)> visit) {
  const auto is_elsewhere = [below](const Line& line) {
    return !IsWithin(line.path, below) && !IsWithin(line.old_path(), below);
  };
  lines_.erase(std::remove_if(lines_.begin(), lines_.end(), is_elsewhere),
               lines_.end());
  std::sort(lines_.begin(), lines_.end(), [](const Line& a, const Line& b) {
    if (a.path != b.path) return PathPrecedes(a.path, b.path);
    return a.kind == Kind::kRemoved && b.kind != Kind::kRemoved;
  });
  for (const Line& line : lines_) {
    PathDifference found;
    found.kind = line.kind;
    found.path = line.path;
    found.old_path = line.old_path();
    if (line.kind != Kind::kAdded) {
      VARVE_ASSIGN_OR_RETURN(found.before, before_.GetInode(line.old_ino));
    }
    if (line.kind != Kind::kRemoved) {
      VARVE_ASSIGN_OR_RETURN(found.after, after_.GetInode(line.inode.ino));
      VARVE_ASSIGN_OR_RETURN(found.new_bytes, NewBytes(line, *found.after));
    }
    if (line.kind == Kind::kModified || line.kind == Kind::kRenamed) {
      found.content = line.inode.content;
      found.attributes = line.inode.attributes;
      found.xattrs = line.inode.xattrs;
      found.replaced = line.replaced;
    }
    VARVE_ASSIGN_OR_RETURN(const bool goes_on, visit(found));
    if (!goes_on) break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DiffPaths(
    const TreeReader& before, const TreeReader& after,
    const PathDiffOptions& options,
    absl::FunctionRef<absl::StatusOr<bool>(const PathDifference&)> visit) {
  VARVE_ASSIGN_OR_RETURN(
      InodeDifferences differences,
      InodeDifferences::Find(before, after, options.sharing));
  PathLister lister(before, after, std::move(differences));
  VARVE_RETURN_IF_ERROR(lister.Make());
  return lister.Visit(options.below, visit);
}

}  // namespace varve::fs
