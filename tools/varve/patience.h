// Waiting for what may never come: no longer than the user allows, and not in
// silence. A call that asks a mount may never return, as its daemon may hang or
// be stopped; such calls are made in a process of their own.
//
// Not thread-safe; for processes without other threads, as it forks.

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
  // After this time a wait says on standard error what it is for.
  static constexpr absl::Duration kSilence = absl::Seconds(2);

  using Why = std::function<std::string()>;

  // From now on.
  explicit Patience(absl::Duration timeout);

  // Waits until `fd` can be read, which includes its end. DEADLINE_EXCEEDED
  // with what `why` returns if that takes too long.
  absl::Status WaitFor(int fd, const Why& why) const;

  // Runs `work` in a child process, and returns what it returned, with the exit
  // status of a failure. DEADLINE_EXCEEDED as above; the child is then killed,
  // or left to itself if it cannot be.
  absl::StatusOr<std::string> Run(
      const std::function<absl::StatusOr<std::string>()>& work,
      const Why& why) const;

  // For waits of another kind: how much time is left, and whether and when to
  // speak up.
  absl::Duration left() const;
  absl::Duration silence_left() const;

 private:
  const absl::Time start_;
  const absl::Time deadline_;
};

// One line on standard error.
void SayWaiting(const std::string& why);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_PATIENCE_H_
