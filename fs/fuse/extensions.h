// Requests of the kernel's protocol that libfuse 3.14 does not pass on, read
// and answered as raw bytes:
//
//  - FUSE_STATX (since Linux 6.6), which asks for the birth time, too;
//  - FUSE_TMPFILE (since Linux 6.1), which is open(2) with O_TMPFILE.
//
// Newer versions of libfuse know them; they are answered here all the same, so
// that a mount behaves alike with every version.

#ifndef VARVE_FS_FUSE_EXTENSIONS_H_
#define VARVE_FS_FUSE_EXTENSIONS_H_

#include "fs/fuse/operations.h"

namespace varve::fs {

// Serves the request, which is what the kernel sent, header first: answers it
// if it is one of these, and has libfuse call its handler otherwise.
void ServeRequest(FuseContext& context, const struct fuse_buf& request);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_EXTENSIONS_H_
