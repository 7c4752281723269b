// Where the verbs of history work: a store, or the mount of one.
//
// A user names a store; or a directory where one is mounted; or a path in a
// mount, which then also says what in the tree is meant.
//
// Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_HISTORY_TARGET_H_
#define VARVE_TOOLS_VARVE_HISTORY_TARGET_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/ioctl/varve_ioctl.h"
#include "fs/volume/volume.h"

namespace varve::tools {

struct HistoryTarget {
  std::string store;       // the path of the store
  std::string mountpoint;  // where it is mounted; empty if it is not
  std::string path;        // in the tree; empty for the root

  // For messages.
  const std::string& name() const {
    return mountpoint.empty() ? store : mountpoint;
  }
};

// `path` is the user's second argument, a path in the tree; empty if there is
// none. Failures are sentences for the user.
absl::StatusOr<HistoryTarget> FindHistoryTarget(const std::string& target,
                                                const std::string& path);

// Opens the store for reading, whether it is mounted or not. From then on,
// until the command prints something, a line of progress is shown
// (long_work.h).
absl::StatusOr<std::unique_ptr<fs::Volume>> OpenHistory(
    const HistoryTarget& place);

// Carries out the call (fs/ioctl/varve_ioctl.h): by the daemon if the store is
// mounted. Its results are in `call` afterwards. Failures are sentences for the
// user.
absl::Status ChangeHistory(const HistoryTarget& place, varve_history& call);

// A call with these texts. INVALID_ARGUMENT if one is too long.
struct HistoryTexts {
  std::string name = {};
  std::string at = {};
  std::string from = {};
  std::string to = {};
};
absl::StatusOr<std::unique_ptr<varve_history>> MakeHistoryCall(
    uint32_t operation, const HistoryTexts& texts);

// The failure with an exit status: that of something that was not found, for
// instance.
absl::Status ExplainHistory(const absl::Status& status);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_HISTORY_TARGET_H_
