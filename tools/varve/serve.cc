#include "tools/varve/serve.h"

#include <errno.h>
#include <fuse3/fuse_log.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/fuse/server.h"
#include "fs/monitor/measured_files.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/heartbeat.h"
#include "tools/varve/json_text.h"
#include "tools/varve/log.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/open_store.h"
#include "tools/varve/privileges.h"
#include "tools/varve/version.h"

namespace varve::tools {
namespace {

// A mount is busy in its first moments.
constexpr absl::Duration kScrubAfter = absl::Minutes(1);
// The daemon before this one may still be closing the store.
constexpr absl::Duration kLockWait = absl::Seconds(5);

// State for signal handlers; global because they get no argument.
std::atomic<fs::FuseServer*> server_to_stop{nullptr};
std::atomic<bool> stop_asked_for{false};

void OnStopSignal(int) {
  const int saved_errno = errno;
  stop_asked_for.store(true);
  if (fs::FuseServer* server = server_to_stop.load()) server->Stop();
  errno = saved_errno;
}

// While it lives, signals that would end the process stop the server instead.
class StopBySignals {
 public:
  explicit StopBySignals(fs::FuseServer* server) {
    server_to_stop.store(server);
    // A signal may have come since the handlers were installed.
    if (stop_asked_for.load()) server->Stop();
  }
  ~StopBySignals() { server_to_stop.store(nullptr); }
  StopBySignals(const StopBySignals&) = delete;
  StopBySignals& operator=(const StopBySignals&) = delete;

  static void Install() {
    struct sigaction action = {};
    action.sa_handler = OnStopSignal;
    action.sa_flags = SA_RESTART;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
      sigaction(number, &action, nullptr);
    }
    signal(SIGPIPE, SIG_IGN);
  }
};

// Collects libfuse's messages while it mounts, which say why it cannot. Global
// because libfuse passes no argument to its callback.
std::vector<std::string>* messages_of_mounting = nullptr;

// Sends libfuse's own messages to the log, as standard error is closed sooner
// or later.
[[gnu::format(printf, 2, 0)]] void OnFuseLog(enum fuse_log_level level,
                                             const char* format,
                                             va_list values) {
  char line[1024];
  vsnprintf(line, sizeof(line), format, values);
  const std::string text(absl::StripSuffix(line, "\n"));
  if (messages_of_mounting != nullptr && level < FUSE_LOG_INFO) {
    messages_of_mounting->push_back(text);
    return;
  }
  if (level >= FUSE_LOG_INFO) {
    LogInfo(text);
  } else {
    LogWarning(text);
  }
}

// The meter of the one store of the process. Never destroyed, because files of
// the store may be closed late.
fs::FileMeter& TheFileMeter() {
  static auto& meter = *new fs::FileMeter;
  return meter;
}

std::string StatusMembers(const ServeRequest& request) {
  const nlohmann::ordered_json status = {
      {"pid", getpid()},
      {"store", request.store},
      {"version", kVersion},
      {"started",
       absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone())},
  };
  const std::string object = JsonLine(status);
  return object.substr(1, object.size() - 2);
}

fs::FuseOptions FuseOptionsFor(const ServeRequest& request) {
  fs::FuseOptions options = request.options.fuse;
  options.mountpoint = request.directory;
  options.source = request.store;
  options.on_error = [](const absl::Status& status,
                        absl::string_view operation) {
    LogFailure(status, operation);
  };
  options.status_members = StatusMembers(request);
  options.version = kVersion;
  options.files = &TheFileMeter();
  return options;
}

absl::StatusOr<std::unique_ptr<fs::FuseServer>> Mount(
    fs::Volume& volume, const ServeRequest& request) {
  std::vector<std::string> messages;
  messages_of_mounting = &messages;
  auto server = fs::FuseServer::Mount(volume, FuseOptionsFor(request));
  messages_of_mounting = nullptr;
  if (server.ok()) {
    for (const std::string& message : messages) LogWarning(message);
    return server;
  }
  const std::string why =
      absl::StrCat(server.status().message(), messages.empty() ? "" : " (",
                   absl::StrJoin(messages, "; "), messages.empty() ? "" : ")");
  switch (SystemErrorNumber(server.status()).value_or(0)) {
    case ENODEV:
    case ENXIO:
      return ExitError(ExitStatus::kNoFuse,
                       absl::StrCat("FUSE is not available: ", why));
    case EINVAL:
      return ExitError(ExitStatus::kUsage,
                       absl::StrCat("the kernel refuses the options: ", why));
    default:
      return ExitError(ExitStatusOf(server.status()), why);
  }
}

// Whether the mount exists and answers. Blocks until it has answered.
bool IsUsable(const ServeRequest& request) {
  struct statvfs info;
  const auto mounts = ReadMountInfo();
  if (!mounts.ok()) return false;
  const auto mount = FindMountAt(*mounts, request.directory);
  return mount.has_value() && mount->source == request.store &&
         statvfs(request.directory.c_str(), &info) == 0;
}

absl::Status Serve(fs::Volume& volume, const ServeRequest& request,
                   const std::function<absl::Status()>& on_ready) {
  StopBySignals::Install();
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<fs::FuseServer> server,
                         Mount(volume, request));
  const StopBySignals stopping(server.get());
  const auto announce = [&] {
    // Otherwise serving has ended and reports why.
    if (!IsUsable(request)) return;
    if (const absl::Status status = on_ready(); !status.ok()) {
      LogError(absl::StrCat("stopping: ", status.message()));
      server->Stop();
      return;
    }
    LogInfo(absl::StrCat(request.store, " is mounted at ", request.directory,
                         volume.read_only() ? " (read-only)" : ""));
  };
  // The server answers only after this callback has returned, so asking the
  // mount takes another thread.
  std::thread announcer;
  const absl::Status status =
      server->Serve([&] { announcer = std::thread(announce); });
  if (announcer.joinable()) announcer.join();
  return status;
}

}  // namespace

absl::Status ServeStore(const ServeRequest& request,
                        const std::function<absl::Status()>& on_ready) {
  VARVE_RETURN_IF_ERROR(KeepOnlyNeededPrivileges());
  // The kernel has already applied the callers' umasks to the modes of files.
  umask(0);
  fuse_set_log_func(OnFuseLog);
  fs::VolumeOptions options = request.options.volume;
  options.read_damaged = true;
  fs::MeasuredFiles files(*options.file_system, TheFileMeter());
  options.file_system = &files;
  options.scrub_after = kScrubAfter;
  options.lock_wait = kLockWait;
  options.on_incident = [](const absl::Status& status) {
    LogFailure(status, "");
  };
  SetLogStore(request.store, "");
  const ServiceManager nobody;
  Heartbeat heartbeat(request.manager != nullptr ? *request.manager : nobody,
                      request.store);
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<fs::Volume> volume,
                         OpenVolume(request.store, std::move(options)));
  SetLogStore(request.store, volume->identity().UuidText());
  for (const std::string& note : volume->notes()) {
    LogWarning(absl::StrCat(request.store, ": ", note));
  }
  bool was_ready = false;
  absl::Status status = Serve(*volume, request, [&] {
    was_ready = true;
    VARVE_RETURN_IF_ERROR(on_ready());
    heartbeat.Ready(*volume, request.directory);
    return absl::OkStatus();
  });
  heartbeat.Stopping();
  // Close the volume even after a failure, so that everything written is kept.
  const absl::Status closed = volume->Close();
  status.Update(
      Explain(closed, absl::StrCat("closing ", request.store, " failed")));
  if (status.ok() && was_ready) {
    LogInfo(absl::StrCat(request.store, " is unmounted and closed"));
  }
  return status;
}

}  // namespace varve::tools
