// Reports the state of the mount to a service manager such as systemd, by the
// protocol of sd_notify(3): datagrams of lines to the socket that NOTIFY_SOCKET
// names.
//
// Thread-safe.

#ifndef VARVE_TOOLS_VARVE_SERVICE_MANAGER_H_
#define VARVE_TOOLS_VARVE_SERVICE_MANAGER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/base/descriptor.h"

namespace varve::tools {

class ServiceManager {
 public:
  // The manager that the environment names for this process. Removes its
  // variables from the environment, as they are not meant for programs that
  // this one starts. If there is no manager, or if it cannot be reached, which
  // logs a warning, returns one that does not listen. Call it while the process
  // has one thread.
  static ServiceManager FromEnvironment();

  // A manager that does not listen.
  ServiceManager() = default;

  bool listens() const { return socket_.valid(); }
  // How long the manager waits for WATCHDOG=1 before it considers the service
  // dead; infinite if it has no watchdog.
  absl::Duration watchdog() const { return watchdog_; }

  // Sends lines of "NAME=value". Does nothing if the manager does not listen. A
  // failure to send is no reason to stop a mount; it is left to the manager's
  // timeouts.
  void Tell(absl::string_view lines) const;
  // Sends "STATUS=text", with visible escapes for characters that could end the
  // line.
  void TellStatus(absl::string_view text) const;

 private:
  Descriptor socket_;
  absl::Duration watchdog_ = absl::InfiniteDuration();
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_SERVICE_MANAGER_H_
