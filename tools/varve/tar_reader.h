// Copying what is in a tar archive to a tree. Every kind of tar is read, but
// none that is compressed.
//
// Not thread-safe. The locale of the thread has to be "C" (tar_attributes.h).

#ifndef VARVE_TOOLS_VARVE_TAR_READER_H_
#define VARVE_TOOLS_VARVE_TAR_READER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "tools/varve/tree_copier.h"

namespace varve::tools {

// Copies each member to where its name says below `root`, and never elsewhere:
// names that are absolute or have ".." in them are refused, and no symbolic
// link is followed. A member replaces what was there before, as with tar(1),
// but no directory is replaced by something else. Directories on the way are
// made. Failures are told, and the rest is copied nevertheless, unless the
// archive cannot be read on or the tree cannot be written on. `fd` is read from
// where it stands; `name` is what messages call it.
absl::Status ReadTar(int fd, const std::string& name,
                     std::unique_ptr<TargetDirectory> root);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TAR_READER_H_
