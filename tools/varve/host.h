// Functions on the host's files and paths, other than the store itself.
//
// Thread-safe: functions without state, and values.

#ifndef VARVE_TOOLS_VARVE_HOST_H_
#define VARVE_TOOLS_VARVE_HOST_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/descriptor.h"

namespace varve::tools {

// Opens a file for reading.
absl::StatusOr<Descriptor> OpenForReading(const std::string& path);
// Creates the file or empties it.
absl::StatusOr<Descriptor> OpenForWriting(const std::string& path);
// Closes a file that was written to, and returns the error of doing so. `name`
// is used in messages, here and below.
absl::Status CloseWritten(Descriptor file, absl::string_view name);

// Reads the next `limit` bytes; fewer only at the end of the file.
absl::StatusOr<std::string> ReadSome(int fd, size_t limit,
                                     absl::string_view name);
absl::Status WriteAll(int fd, absl::string_view bytes, absl::string_view name);
// Writes to standard output without buffering.
absl::Status Print(absl::string_view text);

// The umask of this process.
uint32_t CurrentUmask();

// Reads all of a small file.
absl::StatusOr<std::string> ReadHostFile(const std::string& path);

// The path without symbolic links and relative parts. Every part of it must
// exist.
absl::StatusOr<std::string> RealPath(const std::string& path);
// The same, but the last part need not exist, and may be a dead mount, which
// cannot be examined.
absl::StatusOr<std::string> RealPathOfLast(const std::string& path);

// "/a/b" for "/a/b//"; "/" stays.
absl::string_view WithoutTrailingSlashes(absl::string_view path);
// "/a/b" for "/a/b/c" and for "/a/b//c///"; "." for "c".
std::string DirectoryOf(absl::string_view path);
// "c" for all of these paths.
std::string LastPartOf(absl::string_view path);
std::string JoinPath(absl::string_view directory, absl::string_view name);

// The text with visible escapes in place of characters that could change the
// state of a terminal or break a line: "a\nb" becomes "a\\nb".
std::string Printable(absl::string_view text);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_HOST_H_
