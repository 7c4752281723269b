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
  // All must outlive this.
  AttributeChanges(Core& core, const OpenFiles& open_files,
                   const InodesInUse& inodes, const VolumeOptions& options)
      : core_(core),
        open_files_(open_files),
        inodes_(inodes),
        options_(options) {}

  // Commits all that is asked for but the size. Content that is not committed
  // yet keeps the times, too. ENOENT if there is no such inode.
  absl::Status Commit(uint64_t ino, const AttributeRequest& request)
      ABSL_LOCKS_EXCLUDED(core_.commit_mu);
  // As Volume::DropPrivileges() says.
  absl::Status DropPrivileges(uint64_t ino, bool drop_set_group_id)
      ABSL_LOCKS_EXCLUDED(core_.commit_mu);

  // As Volume::NoteAccess() says, for a volume that may be written to.
  bool NoteAccess(uint64_t ino) ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  // Commits access times that NoteAccess() has changed, up to `limit` of them.
  // The caller holds commit_mu (under a name that Clang's analysis takes for
  // another one).
  absl::Status CommitAccessTimes(size_t limit);
  // Commits them as long as there are so many that they would take long to be
  // put into a checkpoint, and memory meanwhile. Others commit in between.
  absl::Status CommitAccessTimesIfMany() ABSL_LOCKS_EXCLUDED(core_.commit_mu);

 private:
  struct Plan {
    PutInode put;
    bool is_orphan = false;
    bool drop_capabilities = false;
    std::string acl;  // the access control list after it; empty: as it is
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
