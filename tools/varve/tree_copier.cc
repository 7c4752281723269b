#include "tools/varve/tree_copier.h"

#include <errno.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/format/acl.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/tree_path.h"

namespace varve::tools {

// A directory that is being copied. There is a list of levels instead of
// recursion, because a tree may be too deep for the stack.
struct TreeCopier::Level {
  std::unique_ptr<SourceDirectory> from;
  std::unique_ptr<TargetDirectory> to;
  Item item;
  Dress dress;
  bool is_new = false;
  std::vector<std::string> names;
  size_t next = 0;
};

bool IsKeptXattr(absl::string_view name) {
  return absl::StartsWith(name, "user.") ||
         absl::StartsWith(name, "trusted.") ||
         absl::StartsWith(name, "security.") || name == fs::kAccessAclName ||
         name == fs::kDefaultAclName;
}

void TreeCopier::Copy(SourceDirectory& from, const std::string& name,
                      TargetDirectory& to, const std::string& new_name,
                      const std::string& path) {
  std::vector<Level> levels;
  const Item root{name, new_name, path, new_name};
  failures_.Note(
      Explain(CopyOne(from, to, root, levels), Cannot("copy", path)));
  while (!levels.empty() && !to.is_broken()) {
    Level& level = levels.back();
    if (level.next < level.names.size()) {
      const std::string& child = level.names[level.next++];
      const Item item{child, child, JoinPath(level.item.path, child),
                      JoinPath(level.item.new_path, child)};
      const absl::Status status = CopyOne(*level.from, *level.to, item, levels);
      failures_.Note(Explain(status, Cannot("copy", item.path)));
      continue;
    }
    // Last, because files made in a directory change its times.
    TargetDirectory& parent =
        levels.size() > 1 ? *levels[levels.size() - 2].to : to;
    if (level.is_new || level.dress.all) {
      failures_.Note(Explain(parent.Finish(level.item.new_name, level.dress),
                             Cannot("copy", level.item.path)));
    }
    levels.pop_back();
  }
}

absl::StatusOr<Dress> TreeCopier::DressOf(SourceDirectory& from,
                                          const Item& item,
                                          const Node& node) const {
  Dress dress{.node = node, .xattrs = {}, .all = options_.all_attributes};
  if (dress.all) {
    VARVE_ASSIGN_OR_RETURN(dress.xattrs, from.ReadXattrs(item.name));
  } else {
    dress.node.mode &= ~(options_.umask & 0777);
    // As with cp(1), a copy of a program does not become privileged.
    if (!node.is_directory()) dress.node.mode &= ~06000u;
  }
  return dress;
}

absl::Status TreeCopier::CopyOne(SourceDirectory& from, TargetDirectory& to,
                                 const Item& item, std::vector<Level>& levels) {
  VARVE_ASSIGN_OR_RETURN(const Node node, from.Look(item.name));
  VARVE_ASSIGN_OR_RETURN(const std::optional<Node> existing,
                         to.Look(item.new_name));
  if (existing.has_value()) {
    if (existing->identity == node.identity) {
      return ErrorWithNumber(EINVAL, "source and target are the same file");
    }
    if (node.is_directory() && !existing->is_directory()) {
      return ErrorWithNumber(ENOTDIR,
                             "a file that is no directory is in its place");
    }
    if (!node.is_directory() && existing->is_directory()) {
      return ErrorWithNumber(EISDIR, "a directory is in its place");
    }
    if (options_.no_clobber && !node.is_directory()) return absl::OkStatus();
  }
  VARVE_ASSIGN_OR_RETURN(const Dress dress, DressOf(from, item, node));
  if (node.is_directory()) {
    return EnterBoth(from, to, item, dress, existing.has_value(), levels);
  }
  progress_.AddFile();
  const bool shared = dress.all && node.link_count > 1;
  if (shared) {
    const auto earlier = copied_.find(node.identity);
    if (earlier != copied_.end()) {
      if (existing.has_value()) {
        VARVE_RETURN_IF_ERROR(to.Unlink(item.new_name));
      }
      return to.Link(earlier->second, item.new_name, dress);
    }
  }
  VARVE_RETURN_IF_ERROR(CopyLeaf(from, to, item, dress, existing));
  if (shared) copied_.emplace(node.identity, item.new_path);
  return absl::OkStatus();
}

absl::Status TreeCopier::CopyLeaf(SourceDirectory& from, TargetDirectory& to,
                                  const Item& item, const Dress& dress,
                                  const std::optional<Node>& existing) {
  const bool overwrites = existing.has_value() && S_ISREG(dress.node.mode) &&
                          S_ISREG(existing->mode);
  // Before anything is removed for it.
  std::unique_ptr<SourceFile> file;
  std::string target;
  if (S_ISREG(dress.node.mode)) {
    VARVE_ASSIGN_OR_RETURN(file, from.Open(item.name));
  } else if (S_ISLNK(dress.node.mode)) {
    VARVE_ASSIGN_OR_RETURN(target, from.ReadSymlink(item.name));
  }
  if (existing.has_value() && !overwrites) {
    VARVE_RETURN_IF_ERROR(to.Unlink(item.new_name));
  }
  if (file != nullptr) {
    return to.CopyFile(item.new_name, overwrites, dress, *file, progress_);
  }
  if (S_ISLNK(dress.node.mode)) {
    return to.MakeSymlink(item.new_name, target, dress);
  }
  return to.MakeSpecial(item.new_name, dress);
}

absl::Status TreeCopier::EnterBoth(SourceDirectory& from, TargetDirectory& to,
                                   const Item& item, const Dress& dress,
                                   bool exists, std::vector<Level>& levels) {
  Level level{.item = item, .dress = dress, .is_new = !exists};
  VARVE_ASSIGN_OR_RETURN(level.from, from.Enter(item.name));
  VARVE_ASSIGN_OR_RETURN(level.names, level.from->Names());
  if (!exists) {
    VARVE_RETURN_IF_ERROR(to.MakeDirectory(item.new_name, dress));
  }
  VARVE_ASSIGN_OR_RETURN(level.to, to.Enter(item.new_name));
  levels.push_back(std::move(level));
  return absl::OkStatus();
}

}  // namespace varve::tools
