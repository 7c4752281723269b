#include "fs/log/core.h"

#include <errno.h>

#include "engine/base/status.h"
#include "fs/base/error.h"

namespace varve::fs {

LiveInode Core::Live(const InodeItem& item) const {
  LiveInode inode{item};
  const auto time = accessed.find(item.ino);
  if (time != accessed.end()) inode.attributes.atime = time->second;
  return inode;
}

absl::StatusOr<LiveInode> Core::GetNamed(uint64_t ino) const {
  const auto item = reader().FindInode(ino);
  VARVE_RETURN_IF_ERROR(log_tree->segments.CheckLength());
  VARVE_RETURN_IF_ERROR(item.status());
  if (!item->has_value()) return PosixError(ENOENT);
  return Live(**item);
}

absl::StatusOr<LiveInode> Core::GetInodeOf(const NameItem& name) const {
  VARVE_ASSIGN_OR_RETURN(const InodeItem item, reader().GetInode(name.ino));
  return Live(item);
}

absl::StatusOr<LiveInode> Core::GetInode(uint64_t ino) const {
  if (!orphans.contains(ino)) return GetNamed(ino);
  VARVE_ASSIGN_OR_RETURN(const InodeItem item, orphans.reader().GetInode(ino));
  return LiveInode{item, /*is_orphan=*/true};
}

absl::Status ForEachExtentInUse(const Core& core,
                                absl::FunctionRef<void(const Extent&)> visit) {
  core.orphans.ForEachExtent(visit);
  const TreeReader& tree = core.reader();
  absl::Status status;
  VARVE_RETURN_IF_ERROR(tree.ForEachInode([&](const InodeItem& inode) {
    status = tree.ForEachExtent(inode, 0, kMaxFileSize,
                                [&visit](const Extent& extent) {
                                  visit(extent);
                                  return true;
                                });
    return status.ok();
  }));
  return status;
}

}  // namespace varve::fs
