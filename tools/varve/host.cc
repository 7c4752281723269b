#include "tools/varve/host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "engine/base/status.h"
#include "tools/varve/before_output.h"

namespace varve::tools {
namespace {

std::function<void()> before_output;

}  // namespace

absl::StatusOr<Descriptor> OpenForReading(const std::string& path) {
  Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid())
    return SystemError(errno, absl::StrCat("cannot open ", path));
  return fd;
}

absl::StatusOr<Descriptor> OpenForWriting(const std::string& path) {
  Descriptor fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd.valid()) {
    return SystemError(errno, absl::StrCat("cannot create ", path));
  }
  return fd;
}

absl::Status CloseWritten(Descriptor file, absl::string_view name) {
  if (close(file.Release()) == 0) return absl::OkStatus();
  return SystemError(errno, absl::StrCat("cannot write ", name));
}

absl::StatusOr<std::string> ReadSome(int fd, size_t limit,
                                     absl::string_view name) {
  std::string bytes(limit, '\0');
  size_t size = 0;
  while (size < limit) {
    const ssize_t count = read(fd, bytes.data() + size, limit - size);
    if (count == 0) break;
    if (count < 0 && errno != EINTR) {
      return SystemError(errno, absl::StrCat("cannot read ", name));
    }
    if (count > 0) size += static_cast<size_t>(count);
  }
  bytes.resize(size);
  return bytes;
}

absl::Status WriteAll(int fd, absl::string_view bytes, absl::string_view name) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd, bytes.data(), bytes.size());
    // The bytes are mapped but cannot be read.
    if (count < 0 && errno == EFAULT) {
      return ErrorWithCode(absl::StatusCode::kDataLoss, EIO,
                           "the store cannot be read any more");
    }
    if (count < 0 && errno != EINTR) {
      return SystemError(errno, absl::StrCat("cannot write ", name));
    }
    if (count > 0) bytes.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

void BeforeOutput(std::function<void()> call) {
  before_output = std::move(call);
}

absl::Status Print(absl::string_view text) {
  if (const auto call = std::exchange(before_output, nullptr)) call();
  return WriteAll(STDOUT_FILENO, text, "standard output");
}

uint32_t CurrentUmask() {
  const mode_t mask = umask(0);
  umask(mask);
  return mask;
}

absl::StatusOr<std::string> ReadHostFile(const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(const Descriptor fd, OpenForReading(path));
  std::string text;
  constexpr size_t kStep = size_t{64} << 10;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const std::string some,
                           ReadSome(fd.get(), kStep, path));
    text += some;
    if (some.size() < kStep) return text;
  }
}

absl::StatusOr<std::string> RealPath(const std::string& path) {
  char* const real = realpath(path.c_str(), nullptr);
  if (real == nullptr) return SystemError(errno, path);
  std::string result(real);
  free(real);
  return result;
}

absl::StatusOr<std::string> RealPathOfLast(const std::string& path) {
  absl::StatusOr<std::string> real = RealPath(path);
  if (real.ok()) return real;
  const std::string last = LastPartOf(path);
  if (last.empty() || last == "." || last == "..") return real;
  std::string link(PATH_MAX, '\0');
  const ssize_t size =
      readlink(std::string(WithoutTrailingSlashes(path)).c_str(), link.data(),
               link.size());
  if (size >= 0) return real;  // a link that leads nowhere, or in circles
  VARVE_ASSIGN_OR_RETURN(const std::string directory,
                         RealPath(DirectoryOf(path)));
  return JoinPath(directory, last);
}

absl::string_view WithoutTrailingSlashes(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return path;
}

std::string DirectoryOf(absl::string_view path) {
  path = WithoutTrailingSlashes(path);
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  return std::string(WithoutTrailingSlashes(path.substr(0, slash + 1)));
}

std::string LastPartOf(absl::string_view path) {
  path = WithoutTrailingSlashes(path);
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? path
                                                      : path.substr(slash + 1));
}

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  if (directory.empty()) return std::string(name);
  return absl::StrCat(directory, directory.back() == '/' ? "" : "/", name);
}

std::string Printable(absl::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      result += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&result, "\\x%02x", byte);
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace varve::tools
