// How far the copying of a tree has come, on a terminal, once it has taken a
// second. Silent everywhere else.
//
// Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_COPY_PROGRESS_H_
#define VARVE_TOOLS_VARVE_COPY_PROGRESS_H_

#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace varve::tools {

class CopyProgress {
 public:
  CopyProgress();
  ~CopyProgress() { Clear(); }
  CopyProgress(const CopyProgress&) = delete;
  CopyProgress& operator=(const CopyProgress&) = delete;

  void AddFile() {
    ++files_;
    ShowIfDue();
  }
  void AddBytes(uint64_t bytes) {
    bytes_ += bytes;
    ShowIfDue();
  }
  // Takes the line away.
  void Clear();

 private:
  void ShowIfDue();

  const bool is_terminal_;
  uint64_t files_ = 0;
  uint64_t bytes_ = 0;
  absl::Time next_show_;
  bool is_shown_ = false;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_COPY_PROGRESS_H_
