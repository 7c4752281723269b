// What the daemon may do, at most.

#ifndef VARVE_TOOLS_VARVE_PRIVILEGES_H_
#define VARVE_TOOLS_VARVE_PRIVILEGES_H_

#include "absl/status/status.h"

namespace varve::tools {

// Gives up, for good, all capabilities of this thread and of those that it
// starts but the few that serving a mount takes: to reach, own and replace the
// store's file wherever it lies, to use blocks that the host reserves, to mount
// and to unmount. Does nothing for a user who has none. To be called before
// there are other threads.
absl::Status KeepOnlyNeededPrivileges();

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_PRIVILEGES_H_
