// Helpers for tests of the engine.

#ifndef VARVE_ENGINE_BASE_TEST_UTIL_H_
#define VARVE_ENGINE_BASE_TEST_UTIL_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve {

// A directory that is empty at first and removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string File(absl::string_view name) const;
  // The names of the files in it, sorted, each followed by a space.
  std::string Listing() const;

 private:
  std::string path_;
};

absl::Span<const std::byte> Bytes(absl::string_view text);

// Bytes that look random and depend on the seed alone: the first `size` bytes
// of splitmix64 output, each word little-endian.
std::string Pattern(uint64_t seed, size_t size);

std::string ReadWholeFile(const std::string& path);
void WriteWholeFile(const std::string& path, absl::string_view content);
void CopyFile(const std::string& from, const std::string& to);

inline const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

MATCHER_P(HasCode, code, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code;
}

// Matches the status of a failed system call with this error number.
MATCHER_P(HasErrorNumber, number, "") {
  *result_listener << StatusOf(arg).ToString();
  return SystemErrorNumber(StatusOf(arg)) == number;
}

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_TEST_UTIL_H_
