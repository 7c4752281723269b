// InodePlan: what an inode that is to be made gets from its directory and from
// the caller: owner, mode, times and access control lists.

#ifndef VARVE_FS_VOLUME_INODE_PLAN_H_
#define VARVE_FS_VOLUME_INODE_PLAN_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "fs/format/change.h"
#include "fs/format/timestamp.h"
#include "fs/log/commit.h"
#include "fs/tree/inode.h"
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
  // The directory is only looked at; the tree's lock has to be held for that.
  InodePlan(const Inode& directory, const NewInode& made, Caller caller,
            Timestamp now);

  const Attributes& attributes() const { return attributes_; }
  // Access control lists; empty if it has none.
  const std::string& access_acl() const { return access_acl_; }

  // Adds the changes that make inode `ino` so, but none that gives it a name.
  void AddTo(Commit& commit, uint64_t ino) const;

 private:
  Attributes attributes_;
  std::string access_acl_;
  std::string default_acl_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_INODE_PLAN_H_
