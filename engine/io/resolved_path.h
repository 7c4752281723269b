// Where a path leads to.

#ifndef VARVE_ENGINE_IO_RESOLVED_PATH_H_
#define VARVE_ENGINE_IO_RESOLVED_PATH_H_

#include <string>

namespace varve {

// The absolute path of the same file without symbolic links; `path` itself if
// there is no such file. For a caller that replaces the file and not a link to
// it, and because the working directory may change.
std::string ResolvedPath(const std::string& path);

}  // namespace varve

#endif  // VARVE_ENGINE_IO_RESOLVED_PATH_H_
