#include "fs/volume/inode_plan.h"

#include <sys/stat.h>

#include <optional>
#include <utility>

#include "engine/base/status.h"
#include "fs/format/acl.h"

namespace varve::fs {

Attributes NewAttributes(uint32_t mode, Caller owner, Timestamp now) {
  Attributes attributes;
  attributes.mode = mode;
  attributes.uid = owner.uid;
  attributes.gid = owner.gid;
  attributes.atime = attributes.mtime = now;
  attributes.ctime = attributes.btime = now;
  return attributes;
}

absl::StatusOr<InodePlan> InodePlan::Make(const Core& core,
                                          const LiveInode& directory,
                                          const NewInode& made, Caller caller,
                                          Timestamp now) {
  InodePlan plan;
  plan.attributes_ = NewAttributes(made.mode, caller, now);
  Attributes& a = plan.attributes_;
  a.rdev = made.rdev;
  a.size = made.target.size();
  if ((directory.attributes.mode & S_ISGID) != 0) {
    a.gid = directory.attributes.gid;
    if (S_ISDIR(made.mode)) a.mode |= S_ISGID;
  }
  if (S_ISLNK(made.mode)) return plan;
  VARVE_ASSIGN_OR_RETURN(
      const auto inherited,
      core.reader().FindXattr(directory.ino, kDefaultAclName));
  std::optional<Acl> acl;
  if (inherited.has_value()) acl = Acl::Decode(*inherited);
  if (!acl.has_value()) {
    a.mode &= ~(caller.umask & 0777);
    return plan;
  }
  if (S_ISDIR(made.mode)) plan.default_acl_ = *inherited;
  a.mode = acl->Inherit(a.mode);
  if (!acl->IsJustMode()) plan.access_acl_ = acl->Encode();
  return plan;
}

void InodePlan::AddTo(Commit& commit, uint64_t ino) const {
  commit.Add(PutInode{.ino = ino, .attributes = attributes_});
  for (const auto& [name, value] :
       {std::pair(kAccessAclName, absl::string_view(access_acl_)),
        std::pair(kDefaultAclName, absl::string_view(default_acl_))}) {
    if (value.empty()) continue;
    commit.Add(SetXattr{.ino = ino, .name = name, .value = value});
  }
}

}  // namespace varve::fs
