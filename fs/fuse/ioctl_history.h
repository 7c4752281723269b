// The part of ioctl(2) that concerns past moments: VARVE_IOC_HISTORY.
// Thread-safe.

#ifndef VARVE_FS_FUSE_IOCTL_HISTORY_H_
#define VARVE_FS_FUSE_IOCTL_HISTORY_H_

#include "fs/ioctl/varve_ioctl.h"
#include "fs/volume/volume.h"

namespace varve::fs {

// Carries out the call, and fills in its results. EINVAL if it asks for
// something that this version does not know.
absl::Status CallHistory(Volume& volume, varve_history& call);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_IOCTL_HISTORY_H_
