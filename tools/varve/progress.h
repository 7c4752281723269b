// Shows the progress of work that takes longer than a second: one line on the
// terminal, rewritten several times a second. Shows nothing if standard error
// is not a terminal.
//
//   Progress progress("copying");
//   for (…) {
//     progress.AddFile();
//     progress.AddBytes(size);
//   }
//
// shows "copying: 120 files, 1.2 GiB, 0:04" and clears the line at the end.
// Work that counts nothing, such as opening a store, shows only the time.

#ifndef VARVE_TOOLS_VARVE_PROGRESS_H_
#define VARVE_TOOLS_VARVE_PROGRESS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "fs/base/wakeup.h"

namespace varve::tools {

// "17 bytes", "1.5 GiB".
std::string HumanBytes(uint64_t bytes);

// "0:21", "1:02:03"
std::string HumanTime(uint64_t milliseconds);

// The figures of a Progress.
struct ProgressFigures {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t total_bytes = 0;  // 0 if unknown
  uint64_t elapsed_ms = 0;
};

// "copying: 120 files, 1.2 GiB of 2.4 GiB (50%), 0:04"
std::string ProgressText(absl::string_view doing,
                         const ProgressFigures& figures);

// Thread-safe. On a terminal a thread of its own writes the line, so that it
// moves even while the work counts nothing. If the system has no thread left,
// nothing is shown. Must not be alive when the process forks. While a second
// one lives, which must end before the first, only the second is shown.
class Progress {
 public:
  // `doing` names the work, such as "opening photos.varve".
  explicit Progress(std::string doing);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void AddFile() { files_.fetch_add(1, std::memory_order_relaxed); }
  void AddBytes(uint64_t bytes) {
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  // Sets the total number of bytes.
  void SetTotalBytes(uint64_t bytes) { total_bytes_.store(bytes); }

  // Shows the number of bytes that `count` returns, instead of those added.
  // `count` is called from the thread that shows them, until this object is
  // destroyed.
  void CountBytesBy(std::function<uint64_t()> count);

  // Shows the line that `line` makes for a number of columns, instead of the
  // usual one. `line` is called from the thread that shows it, until this
  // object is destroyed.
  void ShowInstead(std::function<std::string(size_t columns)> line);

  // Clears the line, so that other output can be written. It comes back later.
  void Clear();

 private:
  void Run();
  void Show() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ClearLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string doing_;
  const int depth_;  // the number of living objects, this one included
  const fs::Wakeup::Clock::time_point start_;
  std::atomic<uint64_t> files_{0};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> total_bytes_{0};

  absl::Mutex mu_;
  std::function<uint64_t()> count_ ABSL_GUARDED_BY(mu_);
  std::function<std::string(size_t)> line_ ABSL_GUARDED_BY(mu_);
  bool is_shown_ ABSL_GUARDED_BY(mu_) = false;
  // Whether to skip the line once, because other output is being written.
  bool was_cleared_ ABSL_GUARDED_BY(mu_) = false;

  std::atomic<bool> ended_{false};
  fs::Wakeup wakeup_;
  std::thread thread_;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_PROGRESS_H_
