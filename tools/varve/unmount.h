// Unmounts, and finds out about the daemons behind mounts.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_UNMOUNT_H_
#define VARVE_TOOLS_VARVE_UNMOUNT_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace varve::tools {

enum class UnmountMode {
  kClean,  // fails with ExitStatus::kBusy while a process uses the mount
  kLazy,   // invisible at once, and gone when the last user is
  // Like kLazy, but also cuts the daemon off from the kernel, which loses data
  // that the kernel has not passed on. For root only.
  kCutOff,
};

// Unmounts the mount that is visible at `directory`, an absolute path: by
// system call as root, else through fusermount3. Works for dead mounts, too.
absl::Status Unmount(const std::string& directory, UnmountMode mode);

// Whether the mount at `directory` has lost its daemon.
bool IsDeadMount(const std::string& directory);

// Reads the file `name` in the control directory of the mount: "status",
// "status.json". Waits for the daemon's answer, which may never come.
absl::StatusOr<std::string> ReadControlFile(const std::string& directory,
                                            absl::string_view name);

// The daemon behind a Varve mount.
struct DaemonState {
  bool dead = false;       // there is no daemon any more
  bool read_only = false;  // and so it has no lock on the store
  // Nothing if this process cannot see it.
  std::optional<pid_t> pid;
};

// Asks the daemon, whose answer may never come. Encode() and Decode() pass the
// state between processes as text.
DaemonState AskDaemon(const std::string& directory);
std::string Encode(const DaemonState& state);
DaemonState Decode(const std::string& text);

// The process that serves the living Varve mount at `directory`.
std::optional<pid_t> DaemonOf(const std::string& directory);

// The Varve daemon that has the store open for writing. Does not ask the
// daemon, and takes a second at most. Forks, as Patience does.
std::optional<pid_t> WriterOf(const std::string& store);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_UNMOUNT_H_
