// A tar archive as the target of a copy, in the pax format, which can hold
// everything except sockets. The same tree gives the same bytes.
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
  // Files copied to this directory become members of the archive. It
  // is_broken() once the output has failed. Must not outlive the writer.
  virtual std::unique_ptr<TargetDirectory> Root() = 0;
  // The sockets that were copied, which the archive does not contain.
  virtual const std::vector<std::string>& sockets() const = 0;
  // Writes the end mark. Nothing can be copied afterwards. Returns the earlier
  // failure if the output has failed.
  virtual absl::Status Finish() = 0;
};

// `fd` must outlive the writer; messages call it `name`.
absl::StatusOr<std::unique_ptr<TarWriter>> WriteTar(int fd, std::string name);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TAR_WRITER_H_
