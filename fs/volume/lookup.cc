#include "fs/volume/lookup.h"

#include <errno.h>

#include <utility>

#include "absl/strings/match.h"
#include "engine/base/status.h"
#include "fs/base/control_name.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

absl::Status CheckName(absl::string_view name) {
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (!IsValidName(name)) return PosixError(EINVAL);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LiveInode> FindDirectory(const Core& core, uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core.GetInode(ino));
  if (!inode.is_directory()) return PosixError(ENOTDIR);
  return inode;
}

absl::StatusOr<LiveInode> FindRegular(const Core& core, uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core.GetInode(ino));
  if (inode.is_directory()) return PosixError(EISDIR);
  if (!inode.is_regular()) return PosixError(EINVAL);
  return inode;
}

uint64_t ParentOf(const InodeItem& directory) {
  return directory.first_name.place == 0 ? directory.ino
                                         : directory.first_name.directory;
}

absl::StatusOr<std::optional<FoundName>> FindName(const Core& core,
                                                  const LiveInode& directory,
                                                  absl::string_view name) {
  const auto item = core.reader().FindName(directory.ino, name);
  absl::Status status = item.status();
  std::optional<FoundName> found;
  if (status.ok() && item->has_value()) {
    const absl::StatusOr<LiveInode> inode = core.GetInodeOf(**item);
    status = inode.status();
    if (status.ok()) found = {.place = (*item)->place, .inode = *inode};
  }
  VARVE_RETURN_IF_ERROR(core.log_tree->segments.CheckLength());
  VARVE_RETURN_IF_ERROR(status);
  return found;
}

absl::StatusOr<LiveInode> FindNamed(const Core& core, uint64_t parent,
                                    absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(const LiveInode directory,
                         FindDirectory(core, parent));
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (name == ".") return directory;
  if (name == "..") return core.GetInode(ParentOf(directory));
  VARVE_ASSIGN_OR_RETURN(const auto found, FindName(core, directory, name));
  if (!found.has_value()) return PosixError(ENOENT);
  return found->inode;
}

absl::StatusOr<std::string> FindXattr(const TreeReader& tree, uint64_t ino,
                                      absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(auto value, tree.FindXattr(ino, name));
  if (!value.has_value()) return PosixError(ENODATA);
  return *std::move(value);
}

absl::StatusOr<std::string> ListXattrNames(const TreeReader& tree, uint64_t ino,
                                           bool trusted) {
  std::string names;
  VARVE_RETURN_IF_ERROR(tree.ForEachXattr(ino, [&](absl::string_view name) {
    if (!trusted && absl::StartsWith(name, kTrustedPrefix)) return true;
    names.append(name.data(), name.size()).push_back('\0');
    return true;
  }));
  return names;
}

absl::Status CheckFree(const Core& core, uint64_t parent,
                       absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(const LiveInode directory,
                         FindDirectory(core, parent));
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  if (name == "." || name == "..") return PosixError(EEXIST);
  VARVE_ASSIGN_OR_RETURN(const auto taken,
                         core.reader().FindName(parent, name));
  if (taken.has_value()) return PosixError(EEXIST);
  VARVE_RETURN_IF_ERROR(CheckName(name));
  // The directory was removed while in use.
  if (directory.is_orphan) return PosixError(ENOENT);
  if (parent == kRootIno && name == kControlName) return PosixError(EPERM);
  return absl::OkStatus();
}

}  // namespace varve::fs
