// Tracer: passes a description of each request to its readers. Without readers,
// a request costs only the check of one number.
//
// Each reader has a queue for some thousand requests. No request waits for a
// reader: while the queue is full, requests are lost to that reader, which
// learns their number.
//
// Thread-safe.

#ifndef VARVE_FS_MONITOR_TRACER_H_
#define VARVE_FS_MONITOR_TRACER_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/descriptor.h"

namespace varve::fs {

struct TracedRequest {
  std::chrono::system_clock::time_point time;  // when it began
  uint32_t pid = 0;     // of the process; 0 if it came from the kernel itself
  std::string command;  // the name of its program, if known
  std::string operation;
  std::string path;    // from the root of the mount; empty if there is none
  std::string target;  // the other path, of a rename or link
  int error = 0;
  uint64_t bytes = 0;  // read or written
  std::chrono::nanoseconds duration{0};
};

class Tracer {
 public:
  // Which requests a reader wants; by default, all.
  struct Filter {
    std::optional<uint32_t> pid;
    std::vector<std::string> operations;
    std::chrono::nanoseconds at_least{0};
  };

  class Reader {
   public:
    // `tracer` must outlive the reader.
    Reader(Tracer& tracer, Filter filter);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    // A descriptor that is readable while Take() would return something.
    int event_fd() const { return event_.get(); }
    // The requests since the last call, and the number of those that were lost.
    struct Taken {
      std::vector<TracedRequest> requests;
      uint64_t lost = 0;
    };
    Taken Take() ABSL_LOCKS_EXCLUDED(mu_);

   private:
    friend class Tracer;
    bool Wants(const TracedRequest& request) const;
    void Give(const TracedRequest& request) ABSL_LOCKS_EXCLUDED(mu_);

    static constexpr size_t kRoom = 8192;

    Tracer& tracer_;
    const Filter filter_;
    const Descriptor event_;
    absl::Mutex mu_;
    Taken waiting_ ABSL_GUARDED_BY(mu_);
  };

  // Whether there are readers. Callers need not describe requests otherwise.
  bool on() const { return reading_.load(std::memory_order_relaxed) != 0; }
  void Record(const TracedRequest& request) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  std::atomic<int> reading_{0};
  absl::Mutex mu_;
  std::vector<Reader*> readers_ ABSL_GUARDED_BY(mu_);
};

// The request as a line of JSON, with the line break. Bytes that are not UTF-8
// become U+FFFD.
std::string ToJson(const TracedRequest& request);

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_TRACER_H_
