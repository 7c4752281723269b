#include "tools/varve/failures.h"

#include <stdio.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"

namespace varve::tools {

void Failures::Note(const absl::Status& status) {
  if (status.ok()) return;
  before_();
  if (!status.message().empty()) {
    fputs(absl::StrCat("varve: ", Printable(status.message()), "\n").c_str(),
          stderr);
  }
  if (first_.ok()) first_ = ExitError(ExitStatusOf(status), "");
}

void Failures::Warn(absl::string_view message) const {
  before_();
  fputs(absl::StrCat("varve: warning: ", Printable(message), "\n").c_str(),
        stderr);
}

}  // namespace varve::tools
