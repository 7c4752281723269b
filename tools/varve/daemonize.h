// Going into the background without leaving the user in doubt: the parent waits
// until the child has reported whether it is ready.

#ifndef VARVE_TOOLS_VARVE_DAEMONIZE_H_
#define VARVE_TOOLS_VARVE_DAEMONIZE_H_

#include <functional>

#include "absl/status/status.h"

namespace varve::tools {

// Forks. Must be called while the process has one thread only.
//
// The child leads a session of its own, keeps of its parent's descriptors only
// standard input, output and error, and calls `serve`. When `serve` is ready,
// it calls the function that it was given, from any thread. That function
// closes standard input, output and error, and makes the parent return. It
// fails if the parent is gone; `serve` should end then, as the user has given
// up. The child exits when `serve` returns. If `serve` fails before it is
// ready, the parent returns that failure.
//
// Returns in the parent only: OK once the child is ready; otherwise the failure
// of `serve`, with its exit status, a failure to fork, or the death of the
// child.
absl::Status RunDetached(
    const std::function<absl::Status(std::function<absl::Status()> ready)>&
        serve);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_DAEMONIZE_H_
