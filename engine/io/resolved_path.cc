#include "engine/io/resolved_path.h"

#include <stdlib.h>

namespace varve {

std::string ResolvedPath(const std::string& path) {
  char* const resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return path;
  std::string result = resolved;
  free(resolved);
  return result;
}

}  // namespace varve
