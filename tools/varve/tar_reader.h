// Copies the content of a tar archive to a tree. Reads every kind of tar, but
// no compressed one.
//
// Not thread-safe. The locale of the thread must be "C" (tar_attributes.h).

#ifndef VARVE_TOOLS_VARVE_TAR_READER_H_
#define VARVE_TOOLS_VARVE_TAR_READER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "tools/varve/tree_copier.h"

namespace varve::tools {

// Copies each member to the place below `root` that its name says, and never
// elsewhere: refuses names that are absolute or contain "..", and follows no
// symbolic link. A member replaces a file that was there before, as with
// tar(1), but nothing replaces a directory. Makes missing directories. Prints
// failures and copies the rest, unless the rest of the archive cannot be read
// or the tree cannot be written any more. Reads `fd` from its present position;
// messages call it `name`.
absl::Status ReadTar(int fd, const std::string& name,
                     std::unique_ptr<TargetDirectory> root);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TAR_READER_H_
