// The host's files and paths, as far as the command needs them beside the
// store itself.
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

// Opens for reading. `name` is used in messages.
absl::StatusOr<Descriptor> OpenForReading(const std::string& path);
// Creates the file, or empties it.
absl::StatusOr<Descriptor> OpenForWriting(const std::string& path);
// Closes what was written to, and tells what went wrong in doing so. `name` is
// used in messages.
absl::Status CloseWritten(Descriptor file, absl::string_view name);

// The next up to `limit` bytes; fewer only at the end.
absl::StatusOr<std::string> ReadSome(int fd, size_t limit,
                                     absl::string_view name);
absl::Status WriteAll(int fd, absl::string_view bytes, absl::string_view name);
// To standard output, at once.
absl::Status Print(absl::string_view text);

// The permissions that this process does not give to what it makes.
uint32_t CurrentUmask();

// All of a small file.
absl::StatusOr<std::string> ReadHostFile(const std::string& path);

// The path without symbolic links and relative parts. All of it must exist.
absl::StatusOr<std::string> RealPath(const std::string& path);
// The same where the last part need not exist, or cannot be looked at because
// it is a dead mount.
absl::StatusOr<std::string> RealPathOfLast(const std::string& path);

// "/a/b" for "/a/b//"; "/" stays.
absl::string_view WithoutTrailingSlashes(absl::string_view path);
// "/a/b" for "/a/b/c" and for "/a/b//c///"; "." for "c".
std::string DirectoryOf(absl::string_view path);
// "c" for all of these.
std::string LastPartOf(absl::string_view path);
std::string JoinPath(absl::string_view directory, absl::string_view name);

// The text with what could change a terminal's state, or break a line, made
// visible: "a\nb" becomes "a\\nb".
std::string Printable(absl::string_view text);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_HOST_H_
