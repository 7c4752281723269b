// InodePlan: what an inode that is to be made gets from its directory and from
// the caller: owner, mode, times and access control lists.

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

// What is to be made.
struct NewInode {
  uint32_t mode = 0;
  uint32_t rdev = 0;
  absl::string_view target = {};  // of a symlink
};

class InodePlan {
 public:
  // For something in that directory, which has to be there. DATA_LOSS if a node
  // of the tree is damaged.
  static absl::StatusOr<InodePlan> Make(const Core& core,
                                        const LiveInode& directory,
                                        const NewInode& made, Caller caller,
                                        Timestamp now)
      ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

  const Attributes& attributes() const { return attributes_; }
  // Access control lists; empty if it has none.
  const std::string& access_acl() const { return access_acl_; }

  // Adds the changes that make inode `ino` so, but none that gives it a name.
  void AddTo(Commit& commit, uint64_t ino) const;

 private:
  InodePlan() = default;

  Attributes attributes_;
  std::string access_acl_;
  std::string default_acl_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_INODE_PLAN_H_
