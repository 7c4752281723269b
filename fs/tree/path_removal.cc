#include "fs/tree/path_removal.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {
namespace {

// A name that is to be removed.
struct Doomed {
  uint64_t parent = 0;
  std::string name;
  uint64_t ino = 0;
  bool is_open = false;  // a directory of which the names are on the list
};

absl::Status Remove(const Doomed& name, TreeEditor& editor) {
  VARVE_RETURN_IF_ERROR(
      editor.Apply(DropName{name.parent, name.name}, std::nullopt));
  VARVE_ASSIGN_OR_RETURN(const InodeItem inode,
                         editor.reader().GetInode(name.ino));
  if (inode.first_name.place != 0) return absl::OkStatus();
  return editor.Apply(DropInode{name.ino}, std::nullopt);
}

// The name at the end of the path; nothing if there is no such path.
absl::StatusOr<std::optional<NameItem>> FindPath(const TreeReader& tree,
                                                 absl::string_view path) {
  std::optional<NameItem> found;
  uint64_t parent = kRootIno;
  for (const absl::string_view name : absl::StrSplit(path, '/')) {
    VARVE_ASSIGN_OR_RETURN(found, tree.FindName(parent, name));
    if (!found.has_value()) break;
    parent = found->ino;
  }
  return found;
}

}  // namespace

absl::Status RemovePath(absl::string_view path, TreeEditor& editor) {
  VARVE_ASSIGN_OR_RETURN(const auto top, FindPath(editor.reader(), path));
  if (!top.has_value()) return absl::OkStatus();
  std::vector<Doomed> names = {{.parent = top->place.directory,
                                .name = std::string(top->text),
                                .ino = top->ino}};
  while (!names.empty()) {
    Doomed& name = names.back();
    const uint64_t ino = name.ino;
    VARVE_ASSIGN_OR_RETURN(const InodeItem inode,
                           editor.reader().GetInode(ino));
    if (inode.is_directory() && !name.is_open) {
      name.is_open = true;
      VARVE_RETURN_IF_ERROR(editor.reader().ForEachNameAfter(
          {.directory = ino, .place = 0}, [&](const NameItem& child) {
            names.push_back({.parent = ino,
                             .name = std::string(child.text),
                             .ino = child.ino});
            return true;
          }));
      continue;
    }
    const Doomed removed = std::move(names.back());
    names.pop_back();
    VARVE_RETURN_IF_ERROR(Remove(removed, editor));
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
