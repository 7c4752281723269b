// Resolving symbolic links. Thread-safe.

#ifndef VARVE_ENGINE_IO_RESOLVED_PATH_H_
#define VARVE_ENGINE_IO_RESOLVED_PATH_H_

#include <string>

namespace varve {

// The absolute path of the same file, without symbolic links; `path` itself if
// there is no such file. A caller that replaces a file needs it so as not to
// replace a link, and so as not to depend on the working directory.
std::string ResolvedPath(const std::string& path);

}  // namespace varve

#endif  // VARVE_ENGINE_IO_RESOLVED_PATH_H_
