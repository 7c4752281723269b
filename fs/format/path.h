// Paths in a tree, as their bytes. Thread-safe: there is no state.

#ifndef VARVE_FS_FORMAT_PATH_H_
#define VARVE_FS_FORMAT_PATH_H_

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace varve::fs {

// Whether a path, as the tree has it, is that of the directory or leads to
// something in it; "" is the root.
inline bool LiesWithin(absl::string_view path, absl::string_view directory) {
  return directory.empty() || path == directory ||
         (absl::StartsWith(path, directory) && path[directory.size()] == '/');
}

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_PATH_H_
