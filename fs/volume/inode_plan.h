// InodePlan: owner, mode, times and access control lists of an inode that will
// be made, as they follow from its directory and from the caller. Immutable,
// hence thread-safe.

#ifndef VARVE_FS_VOLUME_INODE_PLAN_H_
#define VARVE_FS_VOLUME_INODE_PLAN_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/format/change.h"
#include "fs/format/timestamp.h"
#include "fs/log/commit.h"
#include "fs/log/core.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

// What kind of inode to make.
struct NewInode {
  uint32_t mode = 0;
  uint32_t rdev = 0;
  absl::string_view target = {};  // of a symlink
};

class InodePlan {
 public:
  // Plans an inode in a directory, which must exist. DATA_LOSS if a node of the
  // tree is damaged.
  static absl::StatusOr<InodePlan> Make(const Core& core,
                                        const LiveInode& directory,
                                        const NewInode& made, Caller caller,
                                        Timestamp now)
      ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

  const Attributes& attributes() const { return attributes_; }
  // The access control list; empty if the inode gets none.
  const std::string& access_acl() const { return access_acl_; }

  // Adds the changes that make the inode with number `ino`, but no change that
  // gives it a name.
  void AddTo(Commit& commit, uint64_t ino) const;

 private:
  InodePlan() = default;

  Attributes attributes_;
  std::string access_acl_;
  std::string default_acl_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_INODE_PLAN_H_
