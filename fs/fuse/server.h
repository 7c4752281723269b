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
  // Bytes of one read request at most; as many as the kernel likes if 0.
  uint32_t max_read = 0;
  // 0: chosen by the number of processors. With io_uring they are spread over
  // the processors, one for each at least.
  int threads = 0;
  // How long to look for the next request before sleeping, where that pays;
  // zero for never. What comes through io_uring needs none of it.
  absl::Duration poll = absl::Microseconds(100);
  // Whether requests come through io_uring instead of /dev/fuse. The kernel
  // offers it from Linux 6.14 on, where root has written Y to
  // /sys/module/fuse/parameters/enable_uring; if it does not, the log says so.
  // A program that asks for it calls InstallBusGuard() first.
  bool io_uring = false;
  bool debug = false;  // libfuse's trace of every request, to stderr
  // One line for the log; called from any thread.
  std::function<void(const absl::Status& status, absl::string_view operation)>
      on_error = nullptr;
  // Where metrics are served, too: the path of a Unix socket, or "@" and a name
  // in the abstract namespace; nowhere if empty.
  std::string metrics_socket;
  // What metrics tell of the daemon and of the store's file. `files` outlives
  // the server; it may be null.
  std::string version;
  const FileMeter* files = nullptr;
  // What `.varve/status.json` shows besides what the volume knows, as members
  // of a JSON object, ready to be inserted; may be empty.
  std::string status_members;
};

class FuseServer {
 public:
  // Mounts. INVALID_ARGUMENT if libfuse refuses an option; otherwise the
  // system's error, or that of MonitorSocket::Listen(). `volume` must outlive
  // the server. No thread is started.
  static absl::StatusOr<std::unique_ptr<FuseServer>> Mount(Volume& volume,
                                                           FuseOptions options);
  // Unmounts (lazily, if it is busy) where nobody has done so yet.
  ~FuseServer();

  // Serves requests until the file system is unmounted or Stop() is called.
  // `on_ready` is called once, when the kernel has agreed on the terms and the
  // mount is usable.
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
