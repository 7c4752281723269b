// The handler of ioctl(2) on files and directories of a mount: the calls of
// fs/ioctl/varve_ioctl.h.

#ifndef VARVE_FS_FUSE_IOCTL_H_
#define VARVE_FS_FUSE_IOCTL_H_

#include <cstddef>

#include "fs/fuse/context.h"
#include "fs/fuse/request.h"

namespace varve::fs {

// Of files, directories, and what lies below .varve alike: neither inode nor
// handle matters, and a directory has no handle, as opendir is answered by
// ENOSYS.
void Ioctl(FuseContext& context, IoctlRequest& request, fuse_ino_t,
           unsigned command, void*, struct fuse_file_info*, unsigned,
           const void* in, size_t in_size, size_t out_size);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_IOCTL_H_
