// Asks mounts whose daemons may hang or be stopped, without hanging with them.
//
// A call that waits for such a daemon cannot always be interrupted, not even by
// SIGKILL. So whatever may come to wait for one is first done in a process of
// its own, which is left behind if it does not return.
//
// Not thread-safe. These functions fork, so the process must have no other
// threads.

#ifndef VARVE_TOOLS_VARVE_MOUNT_ANSWER_H_
#define VARVE_TOOLS_VARVE_MOUNT_ANSWER_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tools/varve/mountinfo.h"

namespace varve::tools {

// How long a verb waits for the answer of a mount. A disk that is very busy may
// take seconds.
inline constexpr absl::Duration kAnswerTime = absl::Seconds(10);

// What the user should know, and can do, about the daemon of a mount that does
// not answer. Takes a second at most.
std::string WhyNoAnswer(const MountInfo& mount);

// Runs `work`, which may come to wait for a mount on the way to `path`, in a
// process of its own, and returns its result; of failures, the exit status and
// the message. ExitStatus::kBusy, with a sentence about the mount, if `work`
// does not return within kAnswerTime.
absl::StatusOr<std::string> AskInTime(
    const std::string& path,
    const std::function<absl::StatusOr<std::string>()>& work);

// Like ReadControlFile(), in time.
absl::StatusOr<std::string> AskControlFile(const std::string& directory,
                                           absl::string_view name);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNT_ANSWER_H_
