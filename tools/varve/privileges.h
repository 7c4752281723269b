// Limits the privileges of the daemon.

#ifndef VARVE_TOOLS_VARVE_PRIVILEGES_H_
#define VARVE_TOOLS_VARVE_PRIVILEGES_H_

#include "absl/status/status.h"

namespace varve::tools {

// Permanently gives up all capabilities of this thread, and of threads that it
// starts, except the few that serving a mount needs: to reach, own and replace
// the store's file wherever it lies, to use blocks that the host reserves, to
// mount and to unmount. Does nothing for a user without capabilities. Call it
// before there are other threads.
absl::Status KeepOnlyNeededPrivileges();

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_PRIVILEGES_H_
