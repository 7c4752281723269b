// Monitor: the sockets of a mount through which metrics and traces are read.
//
// A trace cannot be a file of the mount, because the mount could not be
// unmounted while somebody reads it. So `.varve/trace`, which only root and the
// daemon's user may read, names a socket. The socket is made when somebody
// first asks for it. It is in the abstract namespace, where a dead daemon
// leaves nothing behind, and has a name that nobody can guess.
//
// Thread-safe, except End().

#ifndef VARVE_FS_FUSE_MONITOR_H_
#define VARVE_FS_FUSE_MONITOR_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "fs/fuse/context.h"
#include "fs/monitor/monitor_socket.h"

namespace varve::fs {

class Monitor {
 public:
  // `context` must outlive it.
  explicit Monitor(FuseContext& context) : context_(context) {}

  // Serves metrics and traces at `address`, too. Errors are those of
  // MonitorSocket::Listen().
  absl::Status Listen(const std::string& address) ABSL_LOCKS_EXCLUDED(mu_);
  // The addresses that serve traces, one per line. The system's error if there
  // is none.
  absl::StatusOr<std::string> TraceText() ABSL_LOCKS_EXCLUDED(mu_);
  // Closes all sockets and the connections of their readers.
  void End() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  FuseContext& context_;
  absl::Mutex mu_;
  std::unique_ptr<MonitorSocket> asked_for_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<MonitorSocket> hidden_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_MONITOR_H_
