// MonitorSocket: a Unix socket that speaks as much of HTTP/1.0 as it takes to
// answer
//
//   GET /metrics                          to everybody who can connect
//   GET /trace?pid=N&op=NAME&slower_ns=N  to root and the daemon's user: a line
//                                         of JSON for each request from now on,
//                                         until one of the two ends it
//
// Thread-safe.

#ifndef VARVE_FS_MONITOR_MONITOR_SOCKET_H_
#define VARVE_FS_MONITOR_MONITOR_SOCKET_H_

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/descriptor.h"
#include "fs/monitor/tracer.h"

namespace varve::fs {

class MonitorSocket {
 public:
  // Listens at `address`: a path, where what a dead daemon has left is taken
  // away, or "@" and a name in the abstract namespace. `metrics` is called from
  // threads of this; it and `tracer` must outlive it. INVALID_ARGUMENT for no
  // such address; ALREADY_EXISTS if somebody listens there, or what is there is
  // no socket; else the system's error.
  static absl::StatusOr<std::unique_ptr<MonitorSocket>> Listen(
      const std::string& address, std::function<std::string()> metrics,
      Tracer& tracer);
  // Ends what is being answered, and takes the path away if it is still ours.
  ~MonitorSocket();
  MonitorSocket(const MonitorSocket&) = delete;
  MonitorSocket& operator=(const MonitorSocket&) = delete;

  const std::string& address() const { return address_; }

 private:
  struct Connection {
    Descriptor fd;
    std::thread thread;
    std::atomic<bool> done{false};
  };

  MonitorSocket(std::string address, Descriptor listener,
                std::function<std::string()> metrics, Tracer& tracer);
  void Accept();
  void Answer(int fd);
  void Trace(int fd, absl::string_view query);
  // To a client that follows a trace, however slowly it does, until this is to
  // end: from then on it has a moment.
  bool SendPatiently(int fd, absl::string_view bytes) const;
  // What is lost is lost: the other end has gone, or does not read.
  static bool SendAll(int fd, absl::string_view bytes);

  const std::string address_;
  const Descriptor listener_;
  const Descriptor end_;  // readable once this is to end
  const std::function<std::string()> metrics_;
  Tracer& tracer_;
  uint64_t device_ = 0;  // of the path, if it is one
  uint64_t inode_ = 0;
  std::list<Connection> connections_;  // of the thread that accepts
  std::thread thread_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_MONITOR_SOCKET_H_
