// The table of FUSE operations, for libfuse and for the transport. Constant,
// hence thread-safe.

#ifndef VARVE_FS_FUSE_OPERATIONS_H_
#define VARVE_FS_FUSE_OPERATIONS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "fs/fuse/context.h"
#include "fs/fuse/operation.h"

namespace varve::fs {

absl::Span<const Operation> Operations();

// The handlers of the operations that libfuse knows.
const struct fuse_lowlevel_ops& FuseOperations();

// "lookup", "read"…; "other" if the table has no such row.
const char* OperationName(uint32_t opcode);

// Whether answering such a request often takes longer than waking another
// thread for the next one.
bool MayTakeLong(uint32_t opcode);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_OPERATIONS_H_
