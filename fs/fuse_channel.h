// The two ends of the kernel's connection, as raw bytes: what libfuse 3.14
// does not know of the protocol is done here.
//
//  - An answer whose pieces lie in the store's map and cannot be read there is
//    turned into EIO.
//  - FUSE_HANDLE_KILLPRIV_V2 is agreed on with the kernel. Without it, the
//    kernel asks for the attribute security.capability before every write.
//  - FUSE_SETXATTR_EXT is agreed on, so that the kernel says when a new access
//    control list takes set-group-id away.

#ifndef VARVE_FS_FUSE_CHANNEL_H_
#define VARVE_FS_FUSE_CHANNEL_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>

#include <cstdint>

namespace varve::fs {

// For fuse_session_custom_io().
struct fuse_custom_io FuseChannelIo();

// Whether the request that this thread received last asks for set-user-id,
// set-group-id and capabilities of the file to be dropped, or, if it sets an
// access control list, for set-group-id.
bool RequestDropsPrivileges();

// Whether answering it may well take longer than handing the next one to
// another thread: it waits for a disk, or copies much.
bool RequestMayTakeLong();

// The id of the thread whose system call it comes from; 0 if it comes from the
// kernel itself.
uint32_t CallingThread();

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_CHANNEL_H_
