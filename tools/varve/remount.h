// `varve mount -o remount`: changes flags of a mount while it is in use.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_REMOUNT_H_
#define VARVE_TOOLS_VARVE_REMOUNT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace varve::tools {

// The flags of mount(2) that the kernel shows in the options of a mount, with
// `changes` applied in order. Skips options that are not flags.
unsigned long FlagsAfter(absl::Span<const std::string> shown,
                         absl::Span<const std::string> changes);

// Applies those of `changes` that are flags of the kernel ("ro", "nosuid", …).
// The other options are the daemon's and stay as they are. Fails with
// ExitStatus::kRefused if `store` is not mounted at `directory`, with kBusy if
// the mount should become read-only while files are open for writing, and with
// kReadOnly if it should become writable and the daemon cannot write.
absl::Status Remount(const std::string& store, const std::string& directory,
                     absl::Span<const std::string> changes);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_REMOUNT_H_
