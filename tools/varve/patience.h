// Waits for events that may never come, no longer than the user allows, and not
// in silence. A call that asks a mount may never return, as its daemon may hang
// or be stopped. Such calls are made in a process of their own.
//
// Not thread-safe. It forks, so the process must have no other threads.

#ifndef VARVE_TOOLS_VARVE_PATIENCE_H_
#define VARVE_TOOLS_VARVE_PATIENCE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace varve::tools {

class Patience {
 public:
  // After this time a wait tells on standard error what it is waiting for.
  static constexpr absl::Duration kSilence = absl::Seconds(2);

  using Why = std::function<std::string()>;

  // The time runs from the construction on.
  explicit Patience(absl::Duration timeout);

  // Waits until `fd` is readable or at its end. DEADLINE_EXCEEDED, with the
  // text that `why` returns, if that takes too long.
  absl::Status WaitFor(int fd, const Why& why) const;

  // Runs `work` in a child process and returns its result, with the exit status
  // of a failure. DEADLINE_EXCEEDED as above; the child is then killed, or left
  // behind if it cannot be killed.
  absl::StatusOr<std::string> Run(
      const std::function<absl::StatusOr<std::string>()>& work,
      const Why& why) const;

  // For other kinds of waits: the time that is left, and the time until the
  // user should be told.
  absl::Duration left() const;
  absl::Duration silence_left() const;

 private:
  const absl::Time start_;
  const absl::Time deadline_;
};

// Prints one line on standard error.
void SayWaiting(const std::string& why);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_PATIENCE_H_
