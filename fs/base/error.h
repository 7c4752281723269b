// The errors of fs/: statuses that carry the POSIX error which they stand for.
// Code below the FUSE edge does not look at the number; ErrnoOf() is the only
// place that turns a status into one. Thread-safe.

#ifndef VARVE_FS_BASE_ERROR_H_
#define VARVE_FS_BASE_ERROR_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace varve::fs {

// A failure of the caller's request, by its POSIX number (ENOENT, ENOTEMPTY…).
// It has no text, because it is an answer and not an incident.
absl::Status PosixError(int number);

// Damage or an inconsistency in the store. The caller's request fails with EIO,
// and the failure is worth a log line; the message names what is damaged.
absl::Status DamageError(absl::string_view message);

// UNIMPLEMENTED, for a store that a version wrote that this one cannot read.
absl::Status EarlyVersionError();

// The errno to answer a request with: the number that the status carries, or
// else the one closest to its code. 0 for OK.
int ErrnoOf(const absl::Status& status);

// Returns the same failure with the path of the file that it concerns, for logs
// that keep the path apart from the message. OK stays OK.
absl::Status WithFile(absl::Status status, absl::string_view path);
// The path that WithFile() added; nothing if there is none.
std::optional<std::string> PathOfFailure(const absl::Status& status);

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_ERROR_H_
