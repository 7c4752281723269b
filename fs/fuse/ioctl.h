// The handler of ioctl(2) on files and directories of a mount: the calls of
// fs/ioctl/varve_ioctl.h. Thread-safe.

#ifndef VARVE_FS_FUSE_IOCTL_H_
#define VARVE_FS_FUSE_IOCTL_H_

#include <cstddef>

#include "fs/fuse/context.h"
#include "fs/fuse/request.h"

namespace varve::fs {

// Works alike on files, directories and everything below .varve: neither the
// inode nor the handle matters. (A directory has no handle, as opendir is
// answered with ENOSYS.)
void Ioctl(FuseContext& context, IoctlRequest& request, fuse_ino_t,
           unsigned command, void*, struct fuse_file_info*, unsigned,
           const void* in, size_t in_size, size_t out_size);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_IOCTL_H_
