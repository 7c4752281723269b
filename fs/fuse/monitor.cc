#include "fs/fuse/monitor.h"

#include <errno.h>
#include <sys/random.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "fs/fuse/metrics.h"

namespace varve::fs {

absl::Status Monitor::Listen(const std::string& address) {
  absl::MutexLock lock(&mu_);
  VARVE_ASSIGN_OR_RETURN(
      asked_for_,
      MonitorSocket::Listen(
          address, [this] { return MetricsOf(context_); }, context_.tracer));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Monitor::TraceText() {
  absl::MutexLock lock(&mu_);
  if (hidden_ == nullptr) {
    uint64_t name[2];
    if (getrandom(name, sizeof(name), 0) != sizeof(name)) {
      return SystemError(errno, "cannot choose a name for a socket");
    }
    VARVE_ASSIGN_OR_RETURN(
        hidden_, MonitorSocket::Listen(
                     absl::StrFormat("@varve-%016x%016x", name[0], name[1]),
                     [this] { return MetricsOf(context_); }, context_.tracer));
  }
  std::string text = absl::StrCat(hidden_->address(), "\n");
  if (asked_for_ != nullptr) {
    absl::StrAppend(&text, asked_for_->address(), "\n");
  }
  return text;
}

void Monitor::End() {
  absl::MutexLock lock(&mu_);
  asked_for_.reset();
  hidden_.reset();
}

}  // namespace varve::fs
