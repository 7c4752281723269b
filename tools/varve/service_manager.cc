#include "tools/varve/service_manager.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "tools/varve/host.h"
#include "tools/varve/log.h"
#include "tools/varve/unix_address.h"

namespace varve::tools {
namespace {

// Removes a variable and returns its value; empty if there is none.
std::string TakeVariable(const char* name) {
  const char* const value = getenv(name);
  std::string result = value == nullptr ? "" : value;
  unsetenv(name);
  return result;
}

absl::StatusOr<Descriptor> Connect(const std::string& where) {
  const std::optional<UnixAddress> address = ParseUnixAddress(where);
  if (!address.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("NOTIFY_SOCKET is no Unix socket: ", where));
  }
  Descriptor socket_fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket_fd.valid() ||
      connect(socket_fd.get(), address->get(), address->size) != 0) {
    return SystemError(
        errno, absl::StrCat("cannot reach the service manager at ", where));
  }
  return socket_fd;
}

}  // namespace

ServiceManager ServiceManager::FromEnvironment() {
  ServiceManager manager;
  const std::string where = TakeVariable("NOTIFY_SOCKET");
  const std::string microseconds = TakeVariable("WATCHDOG_USEC");
  const std::string watched = TakeVariable("WATCHDOG_PID");
  if (where.empty()) return manager;
  absl::StatusOr<Descriptor> socket_fd = Connect(where);
  if (!socket_fd.ok()) {
    LogWarning(std::string(socket_fd.status().message()));
    return manager;
  }
  manager.socket_ = *std::move(socket_fd);
  int64_t parsed = 0;
  const bool is_for_us = watched.empty() || watched == absl::StrCat(getpid());
  if (is_for_us && absl::SimpleAtoi(microseconds, &parsed) && parsed > 0) {
    manager.watchdog_ = absl::Microseconds(parsed);
  }
  return manager;
}

void ServiceManager::Tell(absl::string_view lines) const {
  if (!listens()) return;
  // Do not wait: a manager that does not read must not hold up the mount.
  [[maybe_unused]] const ssize_t sent = send(
      socket_.get(), lines.data(), lines.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ServiceManager::TellStatus(absl::string_view text) const {
  Tell(absl::StrCat("STATUS=", Printable(text)));
}

}  // namespace varve::tools
