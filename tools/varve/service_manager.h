// Telling a service manager, as systemd is one, how the mount is doing: the
// protocol of sd_notify(3), which is datagrams of lines to the socket that
// NOTIFY_SOCKET names.
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
  // The one that the environment names, if it means this process; its variables
  // are taken out, as they are not meant for programs that this one starts. One
  // that listens to nobody if there is none, or, with a warning in the log, if
  // it cannot be reached. To be called while the process has one thread.
  static ServiceManager FromEnvironment();

  // One that listens to nobody.
  ServiceManager() = default;

  bool listens() const { return socket_.valid(); }
  // How long it waits for WATCHDOG=1 before it takes the service for dead;
  // infinite if it does not wait at all.
  absl::Duration watchdog() const { return watchdog_; }

  // Sends lines of "NAME=value". Nothing if nobody listens. That it cannot be
  // sent is no reason to stop a mount: it is left to the manager's timeouts.
  void Tell(absl::string_view lines) const;
  // "STATUS=text", with what could end the line made visible.
  void TellStatus(absl::string_view text) const;

 private:
  Descriptor socket_;
  absl::Duration watchdog_ = absl::InfiniteDuration();
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_SERVICE_MANAGER_H_
