// Trees of the host, to copy from and to. No symbolic link in them is followed.
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
// itself, let alone overwritten. False if either is not there.
bool IsSameFile(const std::string& path, const std::string& store);

// Lets this process have as many directories open as it may.
void AllowManyDescriptors();

// `store` is the path of the store that is copied from or to.
absl::StatusOr<std::unique_ptr<SourceDirectory>> HostSource(
    const std::string& directory, const std::string& store);
absl::StatusOr<std::unique_ptr<TargetDirectory>> HostTarget(
    const std::string& directory, const std::string& store);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_HOST_TREE_H_
