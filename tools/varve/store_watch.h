// StoreWatch: waits until a file has been written to, also by other processes,
// or another file has taken its place. Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_STORE_WATCH_H_
#define VARVE_TOOLS_VARVE_STORE_WATCH_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/descriptor.h"

namespace varve::tools {

class StoreWatch {
 public:
  // Begins to watch the file; what happens from here on ends the next Wait().
  // The system's errors.
  static absl::StatusOr<StoreWatch> Begin(const std::string& path);

  // Waits. NOT_FOUND if there is no file of that name any more.
  absl::Status Wait();

 private:
  StoreWatch(std::string path, Descriptor events)
      : path_(std::move(path)), events_(std::move(events)) {}
  absl::Status Add();

  std::string path_;
  Descriptor events_;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_STORE_WATCH_H_
