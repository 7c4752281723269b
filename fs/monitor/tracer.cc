#include "fs/monitor/tracer.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace varve::fs {
namespace {

// The length of the UTF-8 character at the beginning of the text; 0 if the
// bytes are not one.
size_t CharacterSize(absl::string_view text) {
  const auto at = [text](size_t i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  const size_t size = first >= 0xc2 && first < 0xe0   ? 2
                      : first >= 0xe0 && first < 0xf0 ? 3
                      : first >= 0xf0 && first < 0xf5 ? 4
                                                      : 0;
  if (size == 0 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and code points beyond Unicode are invalid.
  if ((first == 0xe0 && at(1) < 0xa0) || (first == 0xed && at(1) >= 0xa0) ||
      (first == 0xf0 && at(1) < 0x90) || (first == 0xf4 && at(1) >= 0x90)) {
    return 0;
  }
  return size;
}

std::string Quoted(absl::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    const char c = text[0];
    if (size == 0) {
      result += "\xef\xbf\xbd";
    } else if (size > 1) {
      absl::StrAppend(&result, text.substr(0, size));
    } else if (c == '"' || c == '\\') {
      absl::StrAppend(&result, "\\", text.substr(0, 1));
    } else if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) {
      absl::StrAppendFormat(&result, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return result + '"';
}

}  // namespace

Tracer::Reader::Reader(Tracer& tracer, Filter filter)
    : tracer_(tracer),
      filter_(std::move(filter)),
      event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  absl::MutexLock lock(&tracer_.mu_);
  tracer_.readers_.push_back(this);
  tracer_.reading_.fetch_add(1);
}

Tracer::Reader::~Reader() {
  absl::MutexLock lock(&tracer_.mu_);
  std::erase(tracer_.readers_, this);
  tracer_.reading_.fetch_sub(1);
}

bool Tracer::Reader::Wants(const TracedRequest& request) const {
  const std::vector<std::string>& operations = filter_.operations;
  return request.duration >= filter_.at_least &&
         (!filter_.pid.has_value() || *filter_.pid == request.pid) &&
         (operations.empty() ||
          std::find(operations.begin(), operations.end(), request.operation) !=
              operations.end());
}

void Tracer::Reader::Give(const TracedRequest& request) {
  if (!Wants(request)) return;
  absl::MutexLock lock(&mu_);
  if (waiting_.requests.size() >= kRoom) {
    ++waiting_.lost;
    return;
  }
  waiting_.requests.push_back(request);
  if (waiting_.requests.size() > 1) return;
  const uint64_t one = 1;
  // Fails only if the counter is at its maximum, and then it is readable
  // anyway.
  [[maybe_unused]] const ssize_t written =
      write(event_.get(), &one, sizeof(one));
}

Tracer::Reader::Taken Tracer::Reader::Take() {
  absl::MutexLock lock(&mu_);
  uint64_t count;
  // Fails if nothing was given since the last call, which is fine.
  [[maybe_unused]] const ssize_t got =
      read(event_.get(), &count, sizeof(count));
  return std::exchange(waiting_, {});
}

void Tracer::Record(const TracedRequest& request) {
  absl::MutexLock lock(&mu_);
  for (Reader* const reader : readers_) reader->Give(request);
}

std::string ToJson(const TracedRequest& request) {
  const absl::Time time = absl::FromChrono(request.time);
  std::string line = absl::StrCat(
      "{\"time\": \"",
      absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone()),
      "\", \"pid\": ", request.pid, ", \"command\": ", Quoted(request.command),
      ", \"op\": ", Quoted(request.operation),
      ", \"path\": ", Quoted(request.path));
  if (!request.target.empty()) {
    absl::StrAppend(&line, ", \"target\": ", Quoted(request.target));
  }
  const char* const name =
      request.error == 0 ? "OK" : strerrorname_np(request.error);
  absl::StrAppend(
      &line, ", \"result\": \"",
      name != nullptr ? std::string(name) : absl::StrCat(request.error),
      "\", \"bytes\": ", request.bytes);
  absl::StrAppendFormat(
      &line, ", \"seconds\": %.9f}\n",
      std::chrono::duration<double>(request.duration).count());
  return line;
}

}  // namespace varve::fs
