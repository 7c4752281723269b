// Takes each request from its bytes to its handler, and counts and traces it.
// Thread-safe.

#ifndef VARVE_FS_FUSE_SERVE_REQUEST_H_
#define VARVE_FS_FUSE_SERVE_REQUEST_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>

#include "fs/fuse/context.h"

namespace varve::fs {

// Serves a request, which begins with the kernel's header and must be the one
// that this thread received last. Answers it directly if libfuse does not know
// it; otherwise libfuse calls its handler.
void ServeRequest(FuseContext& context, const struct fuse_buf& request);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_SERVE_REQUEST_H_
