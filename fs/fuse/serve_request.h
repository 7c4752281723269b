// The way of each request from its bytes to its handler, and the place where it
// is counted and traced.

#ifndef VARVE_FS_FUSE_SERVE_REQUEST_H_
#define VARVE_FS_FUSE_SERVE_REQUEST_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>

#include "fs/fuse/context.h"

namespace varve::fs {

// Serves the request, which is what the kernel sent, header first: answers it
// if libfuse does not know it, and has libfuse call its handler otherwise. It
// must be the one that this thread has received last.
void ServeRequest(FuseContext& context, const struct fuse_buf& request);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_SERVE_REQUEST_H_
