// Trees of the host, as source and target of copies. Symbolic links in them are
// never followed.
//
// Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_HOST_TREE_H_
#define VARVE_TOOLS_VARVE_HOST_TREE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tools/varve/tree_copier.h"

namespace varve::tools {

// Whether a path names the file of the store, which must not be copied into
// itself or overwritten. False if either does not exist.
bool IsSameFile(const std::string& path, const std::string& store);

// Raises the limit on open files of this process as far as permitted.
void AllowManyDescriptors();

// `store` is the path of the store that takes part in the copy.
absl::StatusOr<std::unique_ptr<SourceDirectory>> HostSource(
    const std::string& directory, const std::string& store);
absl::StatusOr<std::unique_ptr<TargetDirectory>> HostTarget(
    const std::string& directory, const std::string& store);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_HOST_TREE_H_
