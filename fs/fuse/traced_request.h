// What is to be told of a request, from its bytes as they came from the kernel.

#ifndef VARVE_FS_FUSE_TRACED_REQUEST_H_
#define VARVE_FS_FUSE_TRACED_REQUEST_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "fs/fuse/context.h"
#include "fs/monitor/tracer.h"

namespace varve::fs {

// To be called before the request is answered: while its caller waits, there is
// a process to be named, and what it deletes has a path still. Nothing for what
// is below `.varve`, so that reading a trace is not traced itself. Does not
// have what comes of it: error, bytes and duration.
std::optional<TracedRequest> DescribeRequest(FuseContext& context,
                                             absl::string_view request);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_TRACED_REQUEST_H_
