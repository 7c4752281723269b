// The -o options of `varve mount`: Varve's own, those of the kernel and
// libfuse, and those that mount(8) and fstab(5) pass on for their own reasons.
// Each has a row in mount_option_rows.cc, which serves the parser, --help, the
// manual and remounting.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_MOUNT_OPTIONS_H_
#define VARVE_TOOLS_VARVE_MOUNT_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "fs/fuse/server.h"
#include "fs/volume/volume.h"

namespace varve::tools {

struct MountOptions {
  fs::VolumeOptions volume;
  fs::FuseOptions fuse;
  // "remount": change the existing mount. `changes` has the requested options,
  // in order.
  bool remount = false;
  std::vector<std::string> changes;
};

// The user who mounts.
struct Mounter {
  bool is_root = false;
  bool may_allow_other = false;  // root, or user_allow_other is set
};

// The user of this process. `fuse_conf` is the path of fuse.conf(5).
Mounter CurrentMounter(const std::string& fuse_conf = "/etc/fuse.conf");

// Each of `lists` is the comma-separated argument of one -o. If options
// contradict each other, the last one counts. Failures (ExitStatus::kUsage or
// kNoPermission) name the option.
absl::StatusOr<MountOptions> ParseMountOptions(
    absl::Span<const std::string> lists, const Mounter& mounter);

// Whether the text of a fuse.conf has the line `user_allow_other`.
bool AllowsOther(absl::string_view fuse_conf_text);

// A flag of mount(2).
struct KernelFlag {
  unsigned long bit = 0;
  bool on = false;
};

// The kernel's flag that the option sets or clears; nothing if it is about
// something else.
std::optional<KernelFlag> KernelFlagOf(absl::string_view option);

// Options that are explained together.
struct MountOptionText {
  std::vector<std::string> names;  // with their value: "threads=N"
  std::string help;                // a phrase, as --help has it
  std::string details;  // further sentences for the manual; may be empty
};

// All options that help and manual show, in their order.
std::vector<MountOptionText> DescribeMountOptions();

// The same in the form of --help: lines of up to 80 columns.
std::string MountOptionsHelp();

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNT_OPTIONS_H_
