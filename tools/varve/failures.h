// The failures of a command that continues after a failure: each is printed
// when it happens, and the command ends with the exit status of the first.
//
// Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_FAILURES_H_
#define VARVE_TOOLS_VARVE_FAILURES_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace varve::tools {

class Failures {
 public:
  // `before` is called before each line is printed, for example to clear a
  // progress line.
  explicit Failures(std::function<void()> before = [] {})
      : before_(std::move(before)) {}

  // Prints the message on standard error. OK is ignored.
  void Note(const absl::Status& status);
  // Prints a warning on standard error, which does not count as a failure.
  void Warn(absl::string_view message) const;
  bool any() const { return !first_.ok(); }
  // OK, or the first failure, which has already been printed.
  absl::Status Result() const { return first_; }

 private:
  const std::function<void()> before_;
  absl::Status first_;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_FAILURES_H_
