// FuseServer: serves a Volume to the kernel through FUSE (libfuse's low-level
// API), with any number of threads.
//
// The daemon is the only writer of its store, so the kernel is told to cache
// names, attributes, negative lookups, directory listings and file pages
// without time limit.

#ifndef VARVE_FS_FUSE_SERVER_H_
#define VARVE_FS_FUSE_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "fs/volume/volume.h"

namespace varve::fs {

struct FileMeter;

struct FuseOptions {
  std::string mountpoint;  // absolute
  std::string source;      // shown as the device in /proc/mounts: the store
  // Further -o options for the kernel or libfuse, one each: "ro",
  // "allow_other", "nosuid". default_permissions is always on.
  std::vector<std::string> mount_options;
  // The most bytes of one read request; 0 leaves that to the kernel.
  uint32_t max_read = 0;
  // 0 chooses by the number of processors. With io_uring the threads are spread
  // over the processors, with at least one for each.
  int threads = 0;
  // How long to poll for the next request before sleeping, where that pays off;
  // zero means never to poll. Has no effect with io_uring.
  absl::Duration poll = absl::Microseconds(100);
  // Whether to receive requests through io_uring instead of /dev/fuse. Linux
  // offers it from 6.14 on, if root has written Y to
  // /sys/module/fuse/parameters/enable_uring. If the kernel does not offer it,
  // the log says so and /dev/fuse is used. A program that sets this must call
  // InstallBusGuard() first.
  bool io_uring = false;
  // Whether the log is to say which process has made each change.
  bool log_processes = false;
  bool debug = false;  // libfuse's trace of every request, to stderr
  // Called with each failure for the log, from any thread.
  std::function<void(const absl::Status& status, absl::string_view operation)>
      on_error = nullptr;
  // A socket that serves metrics: the path of a Unix socket, or "@" and a name
  // in the abstract namespace. Empty for none.
  std::string metrics_socket;
  // For metrics about the daemon and the store's file. `files` must outlive the
  // server; it may be null.
  std::string version;
  const FileMeter* files = nullptr;
  // Further members of the JSON object that `.varve/status.json` shows, as text
  // that is inserted into it. May be empty.
  std::string status_members;
};

class FuseServer {
 public:
  // Mounts the volume. INVALID_ARGUMENT if libfuse refuses an option; otherwise
  // the system's error or that of MonitorSocket::Listen(). `volume` must
  // outlive the server. Starts no thread.
  static absl::StatusOr<std::unique_ptr<FuseServer>> Mount(Volume& volume,
                                                           FuseOptions options);
  // Unmounts, lazily if the mount is busy, unless somebody has done so already.
  ~FuseServer();

  // Serves requests until the file system is unmounted or Stop() is called.
  // Calls `on_ready` once, from any thread, when the mount is usable.
  absl::Status Serve(std::function<void()> on_ready);

  // Makes Serve() return soon, after the requests in progress. May be called
  // from any thread, and from a signal handler.
  void Stop();

 private:
  class Impl;
  explicit FuseServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_SERVER_H_
