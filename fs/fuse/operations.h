// The table of FUSE operations: what of it libfuse and the transport need.

#ifndef VARVE_FS_FUSE_OPERATIONS_H_
#define VARVE_FS_FUSE_OPERATIONS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "fs/fuse/context.h"
#include "fs/fuse/operation.h"

namespace varve::fs {

absl::Span<const Operation> Operations();

// The handlers of those that libfuse knows.
const struct fuse_lowlevel_ops& FuseOperations();

// "lookup", "read"…; "other" if there is no row of it.
const char* OperationName(uint32_t opcode);

// Whether answering such a request may well take longer than handing the next
// one to another thread.
bool MayTakeLong(uint32_t opcode);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_OPERATIONS_H_
