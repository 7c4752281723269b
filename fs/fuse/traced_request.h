// Describes a request for a trace, from its bytes as they came from the kernel.
// Thread-safe.

#ifndef VARVE_FS_FUSE_TRACED_REQUEST_H_
#define VARVE_FS_FUSE_TRACED_REQUEST_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "fs/fuse/context.h"
#include "fs/monitor/tracer.h"

namespace varve::fs {

// Must be called before the request is answered: while the caller waits, its
// process still exists, and a file that it deletes still has a path. Returns
// nothing for requests below `.varve`, so that reading a trace is not traced
// itself. Leaves the results empty: error, bytes and duration.
std::optional<TracedRequest> DescribeRequest(FuseContext& context,
                                             absl::string_view request);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_TRACED_REQUEST_H_
