// Serves a store at a mountpoint: the part of `varve mount` that follows all
// checks and runs until the file system is unmounted.

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
  const ServiceManager* manager = nullptr;  // gets reports; may be null
};

// Opens the store, mounts it, and serves it until it is unmounted or the
// process gets SIGINT, SIGTERM or SIGHUP; then closes the store. Calls
// `on_ready` once, from some thread, when the mount is usable, and unmounts
// again if that fails. Starts threads. At most one call per process, as signals
// concern the whole process.
absl::Status ServeStore(const ServeRequest& request,
                        const std::function<absl::Status()>& on_ready);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_SERVE_H_
