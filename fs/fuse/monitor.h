// Monitor: the sockets of a mount through which metrics and traces are read.
//
// A trace cannot be a file of the mount: while it is read, the mount could not
// be unmounted. So `.varve/trace`, which only root and the daemon's user may
// read, names a socket. It is made when it is first asked for, in the abstract
// namespace, where a dead daemon leaves nothing behind, under a name that
// nobody can guess.
//
// Thread-safe, but for End().

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

  // Serves metrics, and traces, there, too. Errors: MonitorSocket::Listen().
  absl::Status Listen(const std::string& address) ABSL_LOCKS_EXCLUDED(mu_);
  // The addresses at which traces are to be had, one a line. The system's error
  // if there is none.
  absl::StatusOr<std::string> TraceText() ABSL_LOCKS_EXCLUDED(mu_);
  // Ends all sockets, and the readers of them.
  void End() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  FuseContext& context_;
  absl::Mutex mu_;
  std::unique_ptr<MonitorSocket> asked_for_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<MonitorSocket> hidden_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_MONITOR_H_
