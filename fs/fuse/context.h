// FuseContext: the objects that the handlers of FUSE requests use. Thread-safe
// as far as its members are.

#ifndef VARVE_FS_FUSE_CONTEXT_H_
#define VARVE_FS_FUSE_CONTEXT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "fs/fuse/control_directory.h"
#include "fs/monitor/request_meter.h"
#include "fs/monitor/tracer.h"
#include "fs/volume/volume.h"

struct fuse_session;

namespace varve::fs {

struct FileMeter;
class RingTransport;

// Called from any thread.
using ErrorLog = std::function<void(const absl::Status& status,
                                    absl::string_view operation)>;

// One for each session of libfuse, which passes it to the handlers as its user
// data. The members are set before the first request is served, and constant
// afterwards.
struct FuseContext {
  FuseContext(Volume& v, std::string status_members)
      : volume(v), control(v, std::move(status_members)) {}

  Volume& volume;
  ControlDirectory control;
  struct fuse_session* session = nullptr;
  ErrorLog log;                    // may be empty
  std::function<void()> on_ready;  // may be empty
  // Has the kernel forget a listing; may be empty.
  std::function<void(uint64_t ino)> forget_listing;
  bool log_processes = false;      // FuseOptions::log_processes
  RingTransport* rings = nullptr;  // null if io_uring is not wanted
  uint32_t max_read = 0;           // FuseOptions::max_read
  RequestMeter requests;
  Tracer tracer;
  const FileMeter* files = nullptr;  // of the store; may be null
  std::string version;               // of the daemon
  double started_seconds = 0;        // since 1970
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_CONTEXT_H_
