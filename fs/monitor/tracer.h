// Tracer: hands what is to be told of each request to its readers. While
// nobody reads, all that a request costs is to look at one number.
//
// Each reader has room for some thousand requests. What comes while it is full
// is lost to that reader, which is told how many it were: no request waits for
// a reader.
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
  std::string command;  // its name, if that could be told
  std::string operation;
  std::string path;    // from the root of the mount; empty if there is none
  std::string target;  // the other path, of a rename or link
  int error = 0;
  uint64_t bytes = 0;  // read or written
  std::chrono::nanoseconds duration{0};
};

class Tracer {
 public:
  // Which requests a reader wants; all, if nothing is set.
  struct Filter {
    std::optional<uint32_t> pid;
    std::vector<std::string> operations;
    std::chrono::nanoseconds at_least{0};
  };

  class Reader {
   public:
    // `tracer` must outlive it.
    Reader(Tracer& tracer, Filter filter);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    // Is readable when there is something to take.
    int event_fd() const { return event_.get(); }
    // All that has come since the last call, and how many were lost by then.
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

  // Whether anybody reads.
  bool on() const { return reading_.load(std::memory_order_relaxed) != 0; }
  void Record(const TracedRequest& request) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  std::atomic<int> reading_{0};
  absl::Mutex mu_;
  std::vector<Reader*> readers_ ABSL_GUARDED_BY(mu_);
};

// As a line of JSON, with the line break. What is not UTF-8 becomes U+FFFD.
std::string ToJson(const TracedRequest& request);

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_TRACER_H_
