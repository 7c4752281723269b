// InodesInUse: which inodes the kernel knows of or somebody has open, and what
// is told of them. One without a name lives on among the orphans for as long as
// it is in use.
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

class InodesInUse {
 public:
  // Both must outlive this. From here on inodes that are in use when the tree
  // drops them become orphans.
  InodesInUse(Core& core, const OpenFiles& open_files);

  // Of content that is not committed, too.
  Stat StatOf(const LiveInode& inode) const;

  // Counts one more kernel reference. ENOENT if there is no such inode.
  absl::StatusOr<Stat> Reference(uint64_t ino)
      ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  // The same for an inode that is known to be there.
  void Reference(const LiveInode& inode)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu) {
    references_.Add(inode.ino);
  }
  // Gives `count` of them back.
  void Forget(uint64_t ino, uint64_t count) ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  // Drops an orphan that is used no more.
  void DropIfUnused(uint64_t ino) ABSL_LOCKS_EXCLUDED(core_.tree_mu);

 private:
  bool IsInUse(uint64_t ino) const;

  Core& core_;
  const OpenFiles& open_files_;
  KernelReferences references_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_INODES_IN_USE_H_
