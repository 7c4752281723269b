#include "tools/varve/copy_progress.h"

#include <stdio.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tools/varve/compaction_report.h"

namespace varve::tools {
namespace {

constexpr absl::Duration kFirst = absl::Seconds(1);
constexpr absl::Duration kEach = absl::Milliseconds(200);
// Back to the first column, and clear the line.
constexpr char kClearLine[] = "\r\x1b[K";

}  // namespace

CopyProgress::CopyProgress()
    : is_terminal_(isatty(STDERR_FILENO) == 1),
      next_show_(is_terminal_ ? absl::Now() + kFirst : absl::InfiniteFuture()) {
}

void CopyProgress::Clear() {
  if (!is_shown_) return;
  fputs(kClearLine, stderr);
  is_shown_ = false;
}

void CopyProgress::ShowIfDue() {
  if (!is_terminal_) return;
  const absl::Time now = absl::Now();
  if (now < next_show_) return;
  next_show_ = now + kEach;
  is_shown_ = true;
  const std::string line = absl::StrCat(kClearLine, "copied: ", files_,
                                        " files, ", HumanBytes(bytes_));
  fputs(line.c_str(), stderr);
}

}  // namespace varve::tools
