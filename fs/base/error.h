// The errors of fs/: statuses that say which POSIX error they stand for. Below
// the FUSE edge nobody looks at the number; ErrnoOf is the one crossing.

#ifndef VARVE_FS_BASE_ERROR_H_
#define VARVE_FS_BASE_ERROR_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace varve::fs {

// A failure of the caller's request, by its POSIX number (ENOENT, ENOTEMPTY…).
// Made without text: these are answers, not incidents.
absl::Status PosixError(int number);

// Damage or an inconsistency in the store: reported as EIO, and worth a log
// line; the message names what is damaged.
absl::Status DamageError(absl::string_view message);

// The number to answer a request with: that which the status carries, else the
// closest to its code. 0 for OK.
int ErrnoOf(const absl::Status& status);

// The same failure, which also says of which file it is, for logs that keep
// such things apart from the message. OK stays OK.
absl::Status WithFile(absl::Status status, absl::string_view path);
// Nothing if it does not say so.
std::optional<std::string> PathOfFailure(const absl::Status& status);

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_ERROR_H_
