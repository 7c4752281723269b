// The handler of ioctl(2) on files and directories of a mount: the calls of
// fs/ioctl/varve_ioctl.h.

#ifndef VARVE_FS_FUSE_IOCTL_H_
#define VARVE_FS_FUSE_IOCTL_H_

#include "fs/fuse/request.h"

namespace varve::fs {

// For FuseOperations().
void AddIoctlOperations(struct fuse_lowlevel_ops& operations);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_IOCTL_H_
