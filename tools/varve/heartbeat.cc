#include "tools/varve/heartbeat.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace varve::tools {
namespace {

// How much longer the manager is asked to wait after each sign of work: several
// beats, as the machine may be slow.
constexpr absl::Duration kExtension = absl::Seconds(60);
// The heartbeat itself takes some processor time; work takes more than this.
constexpr absl::Duration kWork = absl::Milliseconds(20);

// The device number of the file system mounted at the directory, without asking
// its daemon.
std::optional<uint64_t> DeviceAt(const std::string& directory) {
  struct statx info = {};
  const int flags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW;
  if (statx(AT_FDCWD, directory.c_str(), flags, 0, &info) != 0) {
    return std::nullopt;
  }
  return uint64_t{info.stx_dev_major} << 32 | info.stx_dev_minor;
}

absl::Duration ProcessorTime(const struct rusage& usage) {
  return absl::DurationFromTimeval(usage.ru_utime) +
         absl::DurationFromTimeval(usage.ru_stime);
}

}  // namespace

Heartbeat::Heartbeat(const ServiceManager& manager, const std::string& store,
                     absl::Duration beat)
    : manager_(manager), store_(store), beat_(beat) {
  if (!manager_.listens()) return;
  manager_.TellStatus(absl::StrCat("Opening ", store_));
  getrusage(RUSAGE_SELF, &last_usage_);
  thread_ = std::thread([this] { Run(); });
}

Heartbeat::~Heartbeat() {
  if (!thread_.joinable()) return;
  ended_.store(true);
  wakeup_.Wake();
  thread_.join();
}

void Heartbeat::Ready(const fs::Volume& volume, const std::string& directory) {
  if (!manager_.listens()) return;
  volume_ = &volume;
  directory_ = directory;
  device_ = DeviceAt(directory);
  serving_ = absl::StrCat(store_, " is mounted at ", directory,
                          volume.read_only() ? " (read-only)" : "");
  manager_.TellStatus(serving_);
  manager_.Tell("READY=1");
  phase_.store(Phase::kServing);
  wakeup_.Wake();
}

void Heartbeat::Stopping() {
  if (!manager_.listens()) return;
  // From here on the thread does not touch the volume.
  ended_.store(true);
  wakeup_.Wake();
  thread_.join();
  manager_.Tell("STOPPING=1");
  manager_.TellStatus(absl::StrCat("Closing ", store_));
  phase_.store(Phase::kStopping);
  ended_.store(false);
  thread_ = std::thread([this] { Run(); });
}

void Heartbeat::Run() {
  while (!ended_.load()) {
    const Phase phase = phase_.load();
    wakeup_.WaitUntil(NextBeat(phase));
    if (ended_.load()) return;
    if (phase_.load() == Phase::kServing) {
      Probe();
      TellCompaction();
    } else if (HasWorked()) {
      manager_.Tell(absl::StrCat(
          "EXTEND_TIMEOUT_USEC=", absl::ToInt64Microseconds(kExtension),
          "\nWATCHDOG=1"));
    }
  }
}

fs::Wakeup::Clock::time_point Heartbeat::NextBeat(Phase phase) const {
  const absl::Duration pings = phase == Phase::kOpening
                                   ? absl::InfiniteDuration()
                                   : manager_.watchdog() / 3;
  return fs::Wakeup::After(std::min(beat_, pings));
}

bool Heartbeat::HasWorked() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const bool worked =
      ProcessorTime(usage) - ProcessorTime(last_usage_) > kWork ||
      usage.ru_inblock != last_usage_.ru_inblock ||
      usage.ru_oublock != last_usage_.ru_oublock ||
      usage.ru_majflt != last_usage_.ru_majflt;
  last_usage_ = usage;
  return worked;
}

void Heartbeat::Probe() {
  if (manager_.watchdog() == absl::InfiniteDuration()) return;
  // A mount that is covered, or visible in other namespaces only, cannot be
  // asked. Use its path, because a descriptor would keep it from being
  // unmounted.
  struct statvfs info;
  const bool is_there = device_.has_value() && DeviceAt(directory_) == device_;
  if (is_there && statvfs(directory_.c_str(), &info) != 0) return;
  manager_.Tell("WATCHDOG=1");
}

void Heartbeat::TellCompaction() {
  const fs::CompactionProgress progress = volume_->compactions().progress();
  std::string status = serving_;
  if (progress.running()) {
    const uint64_t total = std::max<uint64_t>(progress.bytes_total, 1);
    const auto percent =
        100.0 * static_cast<double>(progress.bytes_done) /
        static_cast<double>(std::max(total, progress.bytes_done));
    status = absl::StrCat("Compacting, ", static_cast<int>(percent),
                          " %: ", serving_);
  }
  if (status == last_status_) return;
  if (!last_status_.empty() || status != serving_) manager_.TellStatus(status);
  last_status_ = status;
}

}  // namespace varve::tools
