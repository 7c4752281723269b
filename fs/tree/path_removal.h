// Taking a path out of a tree, with everything below it.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_TREE_PATH_REMOVAL_H_
#define VARVE_FS_TREE_PATH_REMOVAL_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "fs/tree/tree_editor.h"

namespace varve::fs {

// Removes the name at the end of the path (see IsValidPath()), and, if it is a
// directory, all that lies below. What has another name elsewhere stays under
// that. Does nothing if there is no such path; sets no times. Takes time and
// memory for each name that is removed. DATA_LOSS if a node is damaged.
absl::Status RemovePath(absl::string_view path, TreeEditor& editor);

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_PATH_REMOVAL_H_
