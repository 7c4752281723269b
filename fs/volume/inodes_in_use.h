// InodesInUse: knows which inodes are in use, that is, known to the kernel or
// open, and makes their Stat. An inode that loses its last name while in use
// lives on as an orphan.
//
// Thread-safe.

#ifndef VARVE_FS_VOLUME_INODES_IN_USE_H_
#define VARVE_FS_VOLUME_INODES_IN_USE_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "fs/content/open_files.h"
#include "fs/log/core.h"
#include "fs/volume/kernel_references.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

// The attributes that users of the mount see of a committed inode.
Stat ToStat(const InodeItem& inode);

class InodesInUse {
 public:
  // Both must outlive this object. From now on, inodes that are in use when the
  // tree drops them become orphans.
  InodesInUse(Core& core, const OpenFiles& open_files);

  // The attributes of an inode, with those of dirty content.
  Stat StatOf(const LiveInode& inode) const;

  // Adds a kernel reference. ENOENT if there is no such inode.
  absl::StatusOr<Stat> Reference(uint64_t ino)
      ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  // The same for an inode that is known to exist.
  void Reference(const LiveInode& inode)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu) {
    references_.Add(inode.ino);
  }
  // Removes `count` kernel references.
  void Forget(uint64_t ino, uint64_t count) ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  // Drops the inode if it is an orphan and no longer in use.
  void DropIfUnused(uint64_t ino) ABSL_LOCKS_EXCLUDED(core_.tree_mu);

 private:
  bool IsInUse(uint64_t ino) const;

  Core& core_;
  const OpenFiles& open_files_;
  KernelReferences references_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_INODES_IN_USE_H_
