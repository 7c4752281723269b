// The -o options of `varve mount`: ours, those that the kernel and libfuse
// know, and those that mount(8) and fstab(5) pass on for their own reasons.
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
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "fs/volume/volume.h"

namespace varve::tools {

struct MountOptions {
  bool read_only = false;
  bool create = true;  // make the store if there is none
  bool debug = false;
  // "remount": change the mount that is there. What is asked of it, in order.
  bool remount = false;
  std::vector<std::string> changes;
  bool io_uring = false;
  fs::AccessTimes access_times = fs::AccessTimes::kRelative;
  bool directory_access_times = true;
  fs::AutoCompaction auto_compaction;
  int threads = 0;                     // 0: chosen by the number of processors
  std::optional<absl::Duration> poll;  // if not as FuseOptions has it
  // For FuseOptions::mount_options. "ro" is among them if read_only.
  std::vector<std::string> kernel_options;
};

// Who mounts.
struct Mounter {
  bool is_root = false;
  bool may_allow_other = false;  // root, or user_allow_other is set
};

// This process. `fuse_conf` is the path of fuse.conf(5).
Mounter CurrentMounter(const std::string& fuse_conf = "/etc/fuse.conf");

// Each of `lists` is a comma-separated list, as of one -o. Of options that
// contradict each other the last one counts. Failures (ExitStatus::kUsage, or
// kNoPermission) name the option.
absl::StatusOr<MountOptions> ParseMountOptions(
    absl::Span<const std::string> lists, const Mounter& mounter);

// Whether the text of a fuse.conf has the line `user_allow_other`.
bool AllowsOther(absl::string_view fuse_conf_text);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNT_OPTIONS_H_
