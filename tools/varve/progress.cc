#include "tools/varve/progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "engine/base/start_thread.h"
#include "tools/varve/host.h"

namespace varve::tools {
namespace {

constexpr absl::Duration kFirst = absl::Seconds(1);
constexpr absl::Duration kEach = absl::Milliseconds(200);
// Back to the first column, and clear the line.
constexpr char kClearLine[] = "\r\x1b[K";

// The number of living objects. Global, as there is one terminal.
std::atomic<int> living{0};

void WriteToStandardError(absl::string_view text) {
  fwrite(text.data(), 1, text.size(), stderr);
  fflush(stderr);
}

size_t ColumnsOfTerminal() {
  struct winsize size = {};
  constexpr size_t kUsual = 80;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return kUsual;
  }
  return size.ws_col;
}

// As much of the text as fits, without splitting a UTF-8 character.
std::string Shortened(std::string text, size_t columns) {
  size_t end = 0;
  while (end < text.size() && columns > 0) {
    --columns;
    ++end;
    while (end < text.size() && (text[end] & 0xc0) == 0x80) ++end;
  }
  text.resize(end);
  return text;
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " bytes");
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // A value that would be rounded to 1024.0 takes the next unit.
  while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string HumanTime(uint64_t milliseconds) {
  const uint64_t seconds = (milliseconds + 500) / 1000;
  if (seconds < 3600) {
    return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  }
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60,
                         seconds % 60);
}

std::string ProgressText(absl::string_view doing,
                         const ProgressFigures& figures) {
  std::string text = absl::StrCat(doing, ": ");
  if (figures.files > 0) {
    absl::StrAppend(&text, figures.files,
                    figures.files == 1 ? " file, " : " files, ");
  }
  if (figures.total_bytes > 0) {
    // 100 % is shown only when the work has ended.
    const double fraction =
        std::min(0.99, static_cast<double>(figures.bytes) /
                           static_cast<double>(figures.total_bytes));
    absl::StrAppendFormat(&text, "%s of %s (%d%%), ", HumanBytes(figures.bytes),
                          HumanBytes(figures.total_bytes),
                          static_cast<int>(100 * fraction));
  } else if (figures.bytes > 0) {
    absl::StrAppend(&text, HumanBytes(figures.bytes), ", ");
  }
  return text + HumanTime(figures.elapsed_ms);
}

Progress::Progress(std::string doing)
    : doing_(std::move(doing)),
      depth_(++living),
      start_(fs::Wakeup::Clock::now()) {
  // Without a thread the work continues without showing progress.
  if (isatty(STDERR_FILENO) == 1) StartThread(thread_, [this] { Run(); });
}

Progress::~Progress() {
  if (thread_.joinable()) {
    ended_.store(true);
    wakeup_.Wake();
    thread_.join();
    Clear();
  }
  --living;
}

void Progress::CountBytesBy(std::function<uint64_t()> count) {
  absl::MutexLock lock(&mu_);
  count_ = std::move(count);
}

void Progress::ShowInstead(std::function<std::string(size_t columns)> line) {
  absl::MutexLock lock(&mu_);
  line_ = std::move(line);
}

void Progress::Clear() {
  absl::MutexLock lock(&mu_);
  ClearLocked();
}

void Progress::ClearLocked() {
  if (is_shown_) WriteToStandardError(kClearLine);
  is_shown_ = false;
  was_cleared_ = true;
}

void Progress::Run() {
  wakeup_.WaitUntil(fs::Wakeup::Later(start_, kFirst));
  while (!ended_.load()) {
    {
      absl::MutexLock lock(&mu_);
      if (!std::exchange(was_cleared_, false) && depth_ == living) Show();
    }
    wakeup_.WaitUntil(fs::Wakeup::After(kEach));
  }
}

void Progress::Show() {
  // One column less, because some terminals would wrap the line.
  const size_t columns = ColumnsOfTerminal() - 1;
  const auto elapsed = fs::Wakeup::Clock::now() - start_;
  const ProgressFigures figures = {
      .files = files_.load(std::memory_order_relaxed),
      .bytes = count_ ? count_() : bytes_.load(std::memory_order_relaxed),
      .total_bytes = total_bytes_.load(),
      .elapsed_ms = static_cast<uint64_t>(
          std::chrono::duration_cast<std::chrono::milliseconds>(elapsed)
              .count())};
  const std::string line =
      line_ ? line_(columns) : ProgressText(Printable(doing_), figures);
  WriteToStandardError(absl::StrCat("\r", Shortened(line, columns), "\x1b[K"));
  is_shown_ = true;
}

}  // namespace varve::tools
