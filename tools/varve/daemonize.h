// Going into the background without leaving the user in doubt: the parent stays
// until the child has said whether it is ready.

#ifndef VARVE_TOOLS_VARVE_DAEMONIZE_H_
#define VARVE_TOOLS_VARVE_DAEMONIZE_H_

#include <functional>

#include "absl/status/status.h"

namespace varve::tools {

// Forks. Must be called while the process has one thread only.
//
// The child leads a session of its own, keeps no descriptor of its parent but
// standard input, output and error, and calls `serve`. When `serve` can do what
// was asked of it, it calls the function it was given, from any thread: that
// closes standard input, output and error, and lets the parent go. The call
// fails if the parent is not there any more to hear it; `serve` should end
// then, for whoever asked has given up. The child exits when `serve` returns;
// what it returns before being ready is what the parent returns.
//
// Returns in the parent only: OK once the child is ready, else the failure of
// `serve`, with its exit status, or of forking, or that the child has died.
absl::Status RunDetached(
    const std::function<absl::Status(std::function<absl::Status()> ready)>&
        serve);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_DAEMONIZE_H_
