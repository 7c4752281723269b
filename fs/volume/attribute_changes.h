// AttributeChanges: changes of owner, mode and times, and access times.
//
// Thread-safe.

#ifndef VARVE_FS_VOLUME_ATTRIBUTE_CHANGES_H_
#define VARVE_FS_VOLUME_ATTRIBUTE_CHANGES_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/content/open_files.h"
#include "fs/format/change.h"
#include "fs/log/core.h"
#include "fs/volume/inodes_in_use.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

class AttributeChanges {
 public:
  // All must outlive this object.
  AttributeChanges(Core& core, const OpenFiles& open_files,
                   const InodesInUse& inodes, const VolumeOptions& options)
      : core_(core),
        open_files_(open_files),
        inodes_(inodes),
        options_(options) {}

  // Commits all requested changes except the size. Dirty content gets the
  // times, too, so that its commit keeps them. ENOENT if there is no such
  // inode.
  absl::Status Commit(uint64_t ino, const AttributeRequest& request)
      ABSL_LOCKS_EXCLUDED(core_.commit_mu);
  // As Volume::DropPrivileges().
  absl::Status DropPrivileges(uint64_t ino, bool drop_set_group_id)
      ABSL_LOCKS_EXCLUDED(core_.commit_mu);

  // As Volume::NoteAccess(), for a volume that is not read-only.
  bool NoteAccess(uint64_t ino) ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  // Commits up to `limit` access times that NoteAccess() has changed. The
  // caller must hold commit_mu (whose name there Clang's analysis takes for
  // another mutex).
  absl::Status CommitAccessTimes(size_t limit);
  // Commits access times as long as there are so many that they would take much
  // memory, and delay a checkpoint. Other threads may commit in between.
  absl::Status CommitAccessTimesIfMany() ABSL_LOCKS_EXCLUDED(core_.commit_mu);

 private:
  struct Plan {
    PutInode put;
    bool is_orphan = false;
    bool drop_capabilities = false;
    std::string acl;  // the new access control list; empty if unchanged
  };
  // ENOENT if there is no such inode.
  absl::StatusOr<Plan> MakePlan(uint64_t ino, const AttributeRequest& request,
                                Timestamp now) const
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  void SetTimesOfDirty(uint64_t ino, const AttributeRequest& request,
                       Timestamp now);
  bool AccessTimeIsDue(const LiveInode& inode, Timestamp now) const;

  Core& core_;
  const OpenFiles& open_files_;
  const InodesInUse& inodes_;
  const VolumeOptions& options_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_ATTRIBUTE_CHANGES_H_
