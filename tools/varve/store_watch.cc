#include "tools/varve/store_watch.h"

#include <errno.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace varve::tools {
namespace {

// A store that was replaced changes its link count.
constexpr uint32_t kEvents = IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF;

}  // namespace

absl::StatusOr<StoreWatch> StoreWatch::Begin(const std::string& path) {
  Descriptor events(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!events.valid()) {
    return SystemError(errno, "cannot watch files");
  }
  StoreWatch watch(path, std::move(events));
  VARVE_RETURN_IF_ERROR(watch.Add());
  return watch;
}

absl::Status StoreWatch::Add() {
  // Of a file that is watched already, nothing changes.
  if (inotify_add_watch(events_.get(), path_.c_str(), kEvents) >= 0) {
    return absl::OkStatus();
  }
  if (errno == ENOENT) {
    return absl::NotFoundError(absl::StrCat(path_, " is no longer there"));
  }
  return SystemError(errno, absl::StrCat("cannot watch ", path_));
}

absl::Status StoreWatch::Wait() {
  struct pollfd poll_for = {.fd = events_.get(), .events = POLLIN};
  while (poll(&poll_for, 1, -1) < 0) {
    if (errno != EINTR) return SystemError(errno, "cannot wait");
  }
  // One look at the store finds all that has happened up to then.
  alignas(struct inotify_event) char buffer[4096];
  ssize_t size;
  do {
    size = read(events_.get(), buffer, sizeof(buffer));
  } while (size > 0 || (size < 0 && errno == EINTR));
  if (size < 0 && errno != EAGAIN) {
    return SystemError(errno, absl::StrCat("cannot watch ", path_));
  }
  return Add();
}

}  // namespace varve::tools
