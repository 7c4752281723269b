// The handlers of FUSE requests: each turns one request into one call of the
// volume (or of the control directory) and answers it.

#ifndef VARVE_FS_FUSE_OPERATIONS_H_
#define VARVE_FS_FUSE_OPERATIONS_H_

#include <functional>
#include <utility>

#include "fs/fuse/channel.h"
#include "fs/fuse/control_directory.h"
#include "fs/fuse/request.h"
#include "fs/volume/volume.h"

namespace varve::fs {

// What handlers work with; libfuse hands it back as the session's user data.
struct FuseContext {
  FuseContext(Volume& v, std::string status_members)
      : volume(v), control(v, std::move(status_members)) {}

  Volume& volume;
  ControlDirectory control;
  struct fuse_session* session = nullptr;
  ErrorLog log;
  std::function<void()> on_ready;
  RingTransport* rings = nullptr;  // where there may be one
};

const struct fuse_lowlevel_ops& FuseOperations();

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_OPERATIONS_H_
