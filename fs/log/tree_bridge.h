// Between the tree in the log and the one in memory.

#ifndef VARVE_FS_LOG_TREE_BRIDGE_H_
#define VARVE_FS_LOG_TREE_BRIDGE_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "fs/format/change.h"
#include "fs/tree/live_tree.h"
#include "fs/tree/tree.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

// Makes an empty tree be what `reader` reads. `look` may change each change
// that this takes. DATA_LOSS if a node is damaged, or items contradict each
// other; `tree` is of no use then.
absl::Status CopyToMemory(const TreeReader& reader,
                          absl::FunctionRef<void(Change&)> look, Tree& tree);

// Makes an empty tree in the log be what `tree` is.
void CopyToLog(const Tree& tree, LiveTree& live);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_TREE_BRIDGE_H_
