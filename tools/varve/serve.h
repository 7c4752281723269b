// Serving a store at a mountpoint: the part of `varve mount` that comes after
// everything has been looked at, and runs until the file system is unmounted.

#ifndef VARVE_TOOLS_VARVE_SERVE_H_
#define VARVE_TOOLS_VARVE_SERVE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "tools/varve/mount_options.h"
#include "tools/varve/service_manager.h"

namespace varve::tools {

struct ServeRequest {
  std::string store;      // absolute, without symbolic links
  std::string directory;  // likewise
  MountOptions options;
  const ServiceManager* manager = nullptr;  // told how it goes, if there is one
};

// Opens the store, mounts it, and serves it until it is unmounted or the
// process gets SIGINT, SIGTERM or SIGHUP; then closes the store. `on_ready` is
// called once, from some thread, when the mount is usable; if it fails, the
// mount is taken away again. Starts threads. One call per process: signals
// belong to all of it.
absl::Status ServeStore(const ServeRequest& request,
                        const std::function<absl::Status()>& on_ready);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_SERVE_H_
