// Heartbeat: tells the service manager how a mount is doing from the moment its
// store is being opened until it is closed.
//
//   while opening and closing  that it goes on, as long as the process does
//                              anything: with EXTEND_TIMEOUT_USEC
//   while serving              WATCHDOG=1 each time that the mount has answered
//                              a request that went through the kernel, and
//                              how far a compaction is
//
// The calls are for one thread at a time.

#ifndef VARVE_TOOLS_VARVE_HEARTBEAT_H_
#define VARVE_TOOLS_VARVE_HEARTBEAT_H_

#include <sys/resource.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "fs/base/wakeup.h"
#include "fs/volume/volume.h"
#include "tools/varve/service_manager.h"

namespace varve::tools {

class Heartbeat {
 public:
  // The longest time between two messages.
  static constexpr absl::Duration kBeat = absl::Seconds(5);

  // Reports that the store is being opened. `manager` must outlive this. Starts
  // no thread if the manager does not listen.
  Heartbeat(const ServiceManager& manager, const std::string& store,
            absl::Duration beat = kBeat);
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // Reports READY: the volume is mounted at the directory and answers. The
  // volume must live until Stopping().
  void Ready(const fs::Volume& volume, const std::string& directory);
  // Reports STOPPING: requests are no longer served, and the store is being
  // closed.
  void Stopping();

 private:
  enum class Phase { kOpening, kServing, kStopping };

  void Run();
  fs::Wakeup::Clock::time_point NextBeat(Phase phase) const;
  // Whether this process has computed, read or written since the last call.
  bool HasWorked();
  // Asks the mount for something that the kernel does not know by itself, and
  // waits for the answer.
  void Probe();
  void TellCompaction();

  const ServiceManager& manager_;
  const std::string store_;
  const absl::Duration beat_;
  // Set before the phase becomes kServing.
  const fs::Volume* volume_ = nullptr;
  std::string directory_;
  std::optional<uint64_t> device_;
  std::string serving_;  // the usual STATUS while serving

  std::atomic<Phase> phase_{Phase::kOpening};
  std::atomic<bool> ended_{false};
  struct rusage last_usage_ = {};
  std::string last_status_;  // only for the thread
  fs::Wakeup wakeup_;
  std::thread thread_;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_HEARTBEAT_H_
