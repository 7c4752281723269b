// The kernel's list of mounts (/proc/self/mountinfo): which store is mounted
// where. Reading it touches no mount, so it also works for dead ones.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_MOUNTINFO_H_
#define VARVE_TOOLS_VARVE_MOUNTINFO_H_

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace varve::tools {

struct MountInfo {
  uint64_t id = 0;
  uint64_t parent_id = 0;  // the mount that it lies on
  std::string device;      // "0:45": the same for all mounts of a file system
  std::string directory;   // where it is mounted
  std::string type;        // "fuse.varve" for ours
  std::string source;      // for ours, the absolute path of the store
  bool read_only = false;
  // The options of this mount, and those of the file system wherever it is
  // mounted.
  std::vector<std::string> options;
  std::vector<std::string> super_options;

  bool is_varve() const { return type == "fuse.varve"; }
  friend bool operator==(const MountInfo&, const MountInfo&) = default;
};

// Skips malformed lines.
std::vector<MountInfo> ParseMountInfo(absl::string_view text);

// The mounts that a process sees: this one or another, such as "123", which may
// be in another mount namespace.
absl::StatusOr<std::vector<MountInfo>> ReadMountInfo(
    absl::string_view process = "self");

// The mount that is visible at `directory`, an absolute path without symbolic
// links: the topmost if there are several. Nothing if `directory` is not a
// mountpoint.
std::optional<MountInfo> FindMountAt(const std::vector<MountInfo>& mounts,
                                     absl::string_view directory);

// The directories where the store is mounted by Varve.
std::vector<std::string> MountpointsOf(const std::vector<MountInfo>& mounts,
                                       absl::string_view store);

// Whether this is an error that callers get from a mount that has lost its
// daemon. The latter two go to callers whose request was under way.
inline bool MeansDaemonIsGone(int error_number) {
  return error_number == ENOTCONN || error_number == ECONNABORTED ||
         error_number == ECANCELED;
}

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNTINFO_H_
