// Taking mounts away, and finding out about the daemons behind them.
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
  kClean,  // fails with ExitStatus::kBusy while somebody is using it
  kLazy,   // out of sight at once; gone when the last user is
  // Likewise, and the daemon is cut off from the kernel, which loses what it
  // has not passed on; for root only.
  kCutOff,
};

// Unmounts what is visible at `directory` (absolute): by system call as root,
// else through fusermount3. Works for dead mounts, too.
absl::Status Unmount(const std::string& directory, UnmountMode mode);

// Whether the mount at `directory` has lost its daemon.
bool IsDeadMount(const std::string& directory);

// What the daemon of the mount tells in its control directory, under `name`:
// "status", "status.json". Waits for its answer, which need not come.
absl::StatusOr<std::string> ReadControlFile(const std::string& directory,
                                            absl::string_view name);

// The daemon behind a mount of ours.
struct DaemonState {
  bool dead = false;       // there is none any more
  bool read_only = false;  // and so without a lock on the store
  // Nothing if no such process of ours is to be seen from here.
  std::optional<pid_t> pid;
};

// As the mount's status says. Waits for the daemon's answer, which need not
// come. As text, for another process.
DaemonState AskDaemon(const std::string& directory);
std::string Encode(const DaemonState& state);
DaemonState Decode(const std::string& text);

// The process that serves the living mount of ours at `directory`.
std::optional<pid_t> DaemonOf(const std::string& directory);

// The daemon of ours that has the store open for writing, without asking it.
std::optional<pid_t> WriterOf(const std::string& store);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_UNMOUNT_H_
