// Incidents: reports failures that no caller learns of, because they happen in
// background work or after a close.
//
// Thread-safe, if the listener is.

#ifndef VARVE_FS_BASE_INCIDENTS_H_
#define VARVE_FS_BASE_INCIDENTS_H_

#include <functional>
#include <utility>

#include "absl/status/status.h"

namespace varve::fs {

class Incidents {
 public:
  using Listener = std::function<void(const absl::Status&)>;

  // `listener` is called from any thread; it may be empty.
  explicit Incidents(Listener listener) : listener_(std::move(listener)) {}

  // Calls the listener, unless `status` is OK.
  void Report(const absl::Status& status) const {
    if (!status.ok() && listener_) listener_(status);
  }

 private:
  const Listener listener_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_INCIDENTS_H_
