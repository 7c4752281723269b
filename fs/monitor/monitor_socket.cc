#include "fs/monitor/monitor_socket.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/start_thread.h"
#include "engine/base/status.h"

namespace varve::fs {
namespace {

// The most connections at a time. A trace is one as long as it lasts.
constexpr size_t kMaxConnections = 16;
constexpr size_t kMaxRequest = 4096;
// How long a client may take to send its request, or to read a part of the
// answer.
constexpr time_t kPatienceSeconds = 5;
// The same once the destructor runs, so that a client cannot delay it.
constexpr int kLastMilliseconds = 1000;

struct Address {
  struct sockaddr_un un = {};
  socklen_t size = 0;
  const struct sockaddr* get() const {
    return reinterpret_cast<const struct sockaddr*>(&un);
  }
};

std::optional<Address> Parse(const std::string& text) {
  Address address;
  if (text.size() < 2 || text.size() >= sizeof(address.un.sun_path) ||
      (text[0] != '/' && text[0] != '@')) {
    return std::nullopt;
  }
  address.un.sun_family = AF_UNIX;
  std::memcpy(address.un.sun_path, text.data(), text.size());
  if (text[0] == '@') address.un.sun_path[0] = '\0';
  address.size = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) +
                                        text.size() + (text[0] == '/' ? 1 : 0));
  return address;
}

// Removes a socket at which no process listens any more.
absl::Status RemoveLeftover(const std::string& path, const Address& address) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!S_ISSOCK(info.st_mode) ||
      connect(probe.get(), address.get(), address.size) == 0 ||
      errno != ECONNREFUSED) {
    return ErrorWithNumber(
        EEXIST,
        absl::StrCat(path, " exists already, and is in use or not a socket"));
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return SystemError(errno, absl::StrCat("cannot replace ", path));
  }
  return absl::OkStatus();
}

bool MayTrace(int fd) {
  struct ucred peer = {};
  socklen_t size = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         (peer.uid == 0 || peer.uid == geteuid());
}

// Reads a request up to the empty line that ends it, or as much as comes.
std::string ReadRequest(int fd) {
  std::string text;
  char buffer[1024];
  while (text.size() < kMaxRequest && !absl::StrContains(text, "\r\n\r\n") &&
         !absl::StrContains(text, "\n\n")) {
    const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
    if (got <= 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  return text;
}

std::string Reply(absl::string_view status, absl::string_view type,
                  absl::string_view body) {
  return absl::StrCat("HTTP/1.0 ", status, "\r\nContent-Type: ", type,
                      "\r\nContent-Length: ", body.size(),
                      "\r\nConnection: close\r\n\r\n", body);
}

constexpr absl::string_view kPlain = "text/plain; charset=utf-8";

// Nothing if the query has unknown or malformed parts.
std::optional<Tracer::Filter> ParseFilter(absl::string_view query) {
  Tracer::Filter filter;
  for (const absl::string_view pair :
       absl::StrSplit(query, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> member =
        absl::StrSplit(pair, absl::MaxSplits('=', 1));
    uint64_t number = 0;
    if (member.first == "op") {
      filter.operations.emplace_back(member.second);
    } else if (!absl::SimpleAtoi(member.second, &number)) {
      return std::nullopt;
    } else if (member.first == "pid") {
      filter.pid = static_cast<uint32_t>(number);
    } else if (member.first == "slower_ns") {
      filter.at_least = std::chrono::nanoseconds(static_cast<int64_t>(
          std::min<uint64_t>(number, std::numeric_limits<int64_t>::max())));
    } else {
      return std::nullopt;
    }
  }
  return filter;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MonitorSocket>> MonitorSocket::Listen(
    const std::string& address, std::function<std::string()> metrics,
    Tracer& tracer) {
  const std::optional<Address> parsed = Parse(address);
  if (!parsed.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(address,
                     " cannot be the address of a Unix socket: it must begin "
                     "with / or @, and not be too long"));
  }
  if (address[0] == '/') {
    VARVE_RETURN_IF_ERROR(RemoveLeftover(address, *parsed));
  }
  Descriptor listener(
      socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.valid() ||
      bind(listener.get(), parsed->get(), parsed->size) != 0 ||
      listen(listener.get(), static_cast<int>(kMaxConnections)) != 0) {
    return SystemError(errno, absl::StrCat("cannot listen at ", address));
  }
  return std::unique_ptr<MonitorSocket>(new MonitorSocket(
      address, std::move(listener), std::move(metrics), tracer));
}

MonitorSocket::MonitorSocket(std::string address, Descriptor listener,
                             std::function<std::string()> metrics,
                             Tracer& tracer)
    : address_(std::move(address)),
      listener_(std::move(listener)),
      end_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      metrics_(std::move(metrics)),
      tracer_(tracer) {
  struct stat info;
  if (address_[0] == '/' && stat(address_.c_str(), &info) == 0) {
    device_ = info.st_dev;
    inode_ = info.st_ino;
  }
  thread_ = std::thread([this] { Accept(); });
}

MonitorSocket::~MonitorSocket() {
  const uint64_t one = 1;
  // Cannot fail, because it is written only once.
  [[maybe_unused]] const ssize_t written = write(end_.get(), &one, sizeof(one));
  thread_.join();
  struct stat info;
  if (inode_ != 0 && lstat(address_.c_str(), &info) == 0 &&
      info.st_dev == device_ && info.st_ino == inode_) {
    unlink(address_.c_str());
  }
}

void MonitorSocket::Accept() {
  while (true) {
    struct pollfd events[] = {{listener_.get(), POLLIN, 0},
                              {end_.get(), POLLIN, 0}};
    const int ready = poll(events, 2, -1);
    if (ready < 0 && errno != EINTR) break;
    if (events[1].revents != 0) break;
    connections_.remove_if([](Connection& connection) {
      if (!connection.done.load()) return false;
      connection.thread.join();
      return true;
    });
    Descriptor accepted(
        accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted.valid() || connections_.size() >= kMaxConnections) continue;
    Connection& connection = connections_.emplace_back();
    connection.fd = std::move(accepted);
    const bool started = StartThread(connection.thread, [this, &connection] {
      Answer(connection.fd.get());
      shutdown(connection.fd.get(), SHUT_RDWR);
      connection.done.store(true);
    });
    if (!started) connections_.pop_back();
  }
  for (Connection& connection : connections_) {
    // Threads that wait for a request end. Those that send have some time left.
    shutdown(connection.fd.get(), SHUT_RD);
    connection.thread.join();
  }
}

void MonitorSocket::Answer(int fd) {
  const struct timeval patience = {kPatienceSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  const std::string request = ReadRequest(fd);
  const std::string line = request.substr(0, request.find_first_of("\r\n"));
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  if (words.size() < 2 || words[0] != "GET") {
    SendAll(fd, Reply("400 Bad Request", kPlain, "only GET is known\n"));
    return;
  }
  absl::string_view target = words[1];
  if (target == "/metrics") {
    SendAll(fd, Reply("200 OK", "text/plain; version=0.0.4; charset=utf-8",
                      metrics_()));
  } else if (absl::ConsumePrefix(&target, "/trace")) {
    absl::ConsumePrefix(&target, "?");
    Trace(fd, target);
  } else {
    SendAll(fd, Reply("404 Not Found", kPlain,
                      "there are only /metrics and /trace\n"));
  }
}

void MonitorSocket::Trace(int fd, absl::string_view query) {
  if (!MayTrace(fd)) {
    SendAll(fd, Reply("403 Forbidden", kPlain,
                      "only root and the owner of the mount may trace\n"));
    return;
  }
  const std::optional<Tracer::Filter> filter = ParseFilter(query);
  if (!filter.has_value()) {
    SendAll(fd, Reply("400 Bad Request", kPlain,
                      "known parameters are pid, op and slower_ns\n"));
    return;
  }
  Tracer::Reader reader(tracer_, *filter);
  bool there = SendAll(fd,
                       "HTTP/1.0 200 OK\r\nContent-Type: application/x-ndjson"
                       "\r\nConnection: close\r\n\r\n");
  while (there) {
    // Check for the end before taking requests, so that all that were recorded
    // before the end are sent.
    struct pollfd events[] = {{reader.event_fd(), POLLIN, 0},
                              {fd, POLLIN | POLLRDHUP, 0},
                              {end_.get(), POLLIN, 0}};
    if (poll(events, 3, -1) < 0 && errno != EINTR) return;
    const Tracer::Reader::Taken taken = reader.Take();
    std::string lines;
    for (const TracedRequest& request : taken.requests) {
      lines += ToJson(request);
    }
    if (taken.lost > 0) {
      absl::StrAppend(&lines, "{\"lost\": ", taken.lost, "}\n");
    }
    there = SendPatiently(fd, lines) && events[1].revents == 0 &&
            events[2].revents == 0;
  }
}

bool MonitorSocket::SendPatiently(int fd, absl::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent =
        send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return false;
    struct pollfd events[] = {{fd, POLLOUT, 0}, {end_.get(), POLLIN, 0}};
    if (poll(events, 2, -1) < 0 && errno != EINTR) return false;
    if (events[1].revents != 0 && (events[0].revents & POLLOUT) == 0) {
      struct pollfd last = {fd, POLLOUT, 0};
      if (poll(&last, 1, kLastMilliseconds) <= 0) return false;
    }
  }
  return true;
}

bool MonitorSocket::SendAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace varve::fs
