// MonitorSocket: a server on a Unix socket that speaks just enough HTTP/1.0 to
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
  // Listens at `address`: a path, or "@" and a name in the abstract namespace.
  // Replaces a socket that a dead daemon left at the path. `metrics` makes the
  // text of /metrics; it is called from threads of this object. `metrics` and
  // `tracer` must outlive this object. INVALID_ARGUMENT if `address` is
  // malformed or too long; ALREADY_EXISTS if a process listens there or the
  // file is not a socket; else the system's error.
  static absl::StatusOr<std::unique_ptr<MonitorSocket>> Listen(
      const std::string& address, std::function<std::string()> metrics,
      Tracer& tracer);
  // Ends all connections, and removes the path if it is still that of this
  // socket.
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
  // Sends to a client that follows a trace, which may read as slowly as it
  // likes. Once this object is being destroyed, the client has
  // kLastMilliseconds left. Returns whether all bytes were sent.
  bool SendPatiently(int fd, absl::string_view bytes) const;
  // Sends to any other client, which must read within kPatienceSeconds. Returns
  // whether all bytes were sent; if not, nothing more can be done.
  static bool SendAll(int fd, absl::string_view bytes);

  const std::string address_;
  const Descriptor listener_;
  const Descriptor end_;  // readable once the destructor runs
  const std::function<std::string()> metrics_;
  Tracer& tracer_;
  uint64_t device_ = 0;  // of the socket's file, if the address is a path
  uint64_t inode_ = 0;
  std::list<Connection> connections_;  // only for the thread that accepts
  std::thread thread_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_MONITOR_SOCKET_H_
