#include "fs/tree/tree_checker.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/format/change.h"

namespace varve::fs {
namespace {

// More problems than this would say nothing new.
constexpr size_t kMaxProblems = 1000;

class TreeChecker {
 public:
  TreeChecker(const TreeReader& tree, const TreeTotals& totals)
      : tree_(tree), said_(totals) {}

  std::vector<std::string> Run() {
    const absl::Status walked =
        tree_.ForEachInode([this](const InodeItem& inode) {
          const absl::Status status = CheckInode(inode);
          if (!status.ok()) Add(std::string(status.message()));
          return problems_.size() < kMaxProblems;
        });
    if (!walked.ok()) Add(std::string(walked.message()));
    // After an incomplete walk, the totals cannot be compared.
    if (problems_.empty()) CheckTotals();
    return std::move(problems_);
  }

 private:
  void Add(std::string problem) { problems_.push_back(std::move(problem)); }
  void Add(const InodeItem& inode, absl::string_view what) {
    Add(absl::StrCat("inode ", inode.ino, " ", what));
  }

  absl::Status CheckInode(const InodeItem& inode) {
    ++met_.inodes;
    if (inode.is_regular()) met_.content_bytes += inode.attributes.size;
    met_.data_bytes += inode.data_bytes();
    VARVE_RETURN_IF_ERROR(CheckLinks(inode));
    if (inode.is_directory()) return CheckNames(inode);
    return CheckExtents(inode);
  }

  // Checks that the inode's names lead to it, and that it counts them
  // correctly.
  absl::Status CheckLinks(const InodeItem& inode) {
    uint64_t links = 0;
    absl::Status status;
    VARVE_RETURN_IF_ERROR(tree_.ForEachLink(inode, [&](NamePlace place) {
      ++links;
      const absl::StatusOr<NameItem> name = tree_.GetName(place);
      status = name.status();
      if (status.ok() && name->ino != inode.ino) {
        Add(inode, "is not the inode that its name leads to");
      }
      return status.ok();
    }));
    VARVE_RETURN_IF_ERROR(status);
    if (inode.ino == kRootIno) {
      if (links > 0) Add(inode, "is the root, but has a name");
    } else if (links == 0) {
      Add(inode, "has no name");
    }
    if (!inode.is_directory() && links != inode.links) {
      Add(inode,
          absl::StrCat("has ", links, " names, but counts ", inode.links));
    }
    return absl::OkStatus();
  }

  // Checks that each name in the directory can be found, and that the inode it
  // leads to has this name.
  absl::Status CheckNames(const InodeItem& directory) {
    uint64_t names = 0;
    uint64_t directories = 0;
    absl::Status status;
    VARVE_RETURN_IF_ERROR(tree_.ForEachNameAfter(
        {.directory = directory.ino, .place = 0}, [&](const NameItem& name) {
          ++names;
          if (name.place.place >= directory.next_place) {
            Add(directory, "has a name beyond its last place");
          }
          status = CheckName(directory, name, directories);
          return status.ok();
        }));
    VARVE_RETURN_IF_ERROR(status);
    met_.names += names;
    if (names != directory.name_count) {
      Add(directory, absl::StrCat("holds ", names, " names, but counts ",
                                  directory.name_count));
    }
    if (directories != directory.links) {
      Add(directory,
          absl::StrCat("holds ", directories, " directories, but counts ",
                       directory.links));
    }
    return absl::OkStatus();
  }

  absl::Status CheckName(const InodeItem& directory, const NameItem& name,
                         uint64_t& directories) {
    VARVE_ASSIGN_OR_RETURN(const auto found,
                           tree_.FindName(directory.ino, name.text));
    if (!found.has_value() || found->place != name.place) {
      Add(directory, "holds a name that cannot be found by its hash");
    }
    VARVE_ASSIGN_OR_RETURN(const InodeItem inode, tree_.GetInode(name.ino));
    if (inode.is_directory()) ++directories;
    if ((inode.attributes.mode & S_IFMT) != name.mode_type()) {
      Add(inode, "is of another type than its name says");
    }
    if (inode.first_name == name.place) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(const auto link,
                           tree_.items().Get(LinkKey(inode.ino, name.place)));
    if (!link.has_value()) Add(inode, "does not know of one of its names");
    return absl::OkStatus();
  }

  absl::Status CheckExtents(const InodeItem& inode) {
    if (inode.whole_entry.has_value()) {
      if (inode.extent_count > 0)
        Add(inode, "has both a whole entry and extents");
      return absl::OkStatus();
    }
    uint64_t count = 0;
    uint64_t bytes = 0;
    VARVE_RETURN_IF_ERROR(
        tree_.ForEachExtent(inode, 0, kMaxFileSize, [&](const Extent& extent) {
          ++count;
          bytes += extent.length;
          return true;
        }));
    met_.extents += count;
    if (count != inode.extent_count || bytes != inode.extent_bytes) {
      Add(inode, absl::StrCat("has ", bytes, " bytes in ", count,
                              " extents, but counts ", inode.extent_bytes,
                              " in ", inode.extent_count));
    }
    return absl::OkStatus();
  }

  void CheckTotals() {
    met_.may_have_clones = said_.may_have_clones;
    if (met_ == said_) return;
    Add(absl::StrCat("the tree holds ", met_.inodes, " inodes, ", met_.names,
                     " names, ", met_.extents, " extents and ", met_.data_bytes,
                     " bytes, but counts ", said_.inodes, ", ", said_.names,
                     ", ", said_.extents, " and ", said_.data_bytes));
  }

  const TreeReader& tree_;
  const TreeTotals said_;
  TreeTotals met_;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> CheckTree(const TreeReader& tree,
                                   const TreeTotals& totals) {
  return TreeChecker(tree, totals).Run();
}

}  // namespace varve::fs
