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
// `changes` made to them in their order. What is no flag is left out.
unsigned long FlagsAfter(absl::Span<const std::string> shown,
                         absl::Span<const std::string> changes);

// Makes those of `changes` that are flags of the kernel ("ro", "nosuid", …),
// and leaves all else as it was mounted: that belongs to the daemon. Fails with
// ExitStatus::kRefused if it is not `store` that is mounted at `directory`,
// with kBusy if files are open for writing and it is to become read-only, and
// with kReadOnly if the daemon cannot write.
absl::Status Remount(const std::string& store, const std::string& directory,
                     absl::Span<const std::string> changes);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_REMOUNT_H_
