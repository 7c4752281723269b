// A tar archive as what a tree is copied to, in the pax format, which has room
// for everything but sockets. The same tree gives the same bytes.
//
// Not thread-safe. While it exists, the locale of its thread is one with UTF-8.

#ifndef VARVE_TOOLS_VARVE_TAR_WRITER_H_
#define VARVE_TOOLS_VARVE_TAR_WRITER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/varve/tree_copier.h"

namespace varve::tools {

class TarWriter {
 public:
  virtual ~TarWriter() = default;
  // What is copied there becomes members of the archive. Once the output has
  // failed, it is broken. Must not outlive the writer.
  virtual std::unique_ptr<TargetDirectory> Root() = 0;
  // Sockets that were copied: there are none in the archive.
  virtual const std::vector<std::string>& sockets() const = 0;
  // Writes the end mark. Nothing can be copied any more. Fails as the output
  // did before, if it did.
  virtual absl::Status Finish() = 0;
};

// `fd` must outlive it; `name` is what messages call it.
absl::StatusOr<std::unique_ptr<TarWriter>> WriteTar(int fd, std::string name);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TAR_WRITER_H_
