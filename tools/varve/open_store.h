// Opens a store for a command, and turns the failures that users run into into
// clear sentences with an exit status.
//
// If opening takes longer than a second, a terminal shows progress
// (progress.h).
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_OPEN_STORE_H_
#define VARVE_TOOLS_VARVE_OPEN_STORE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/store/store.h"
#include "fs/repair/repair.h"
#include "fs/volume/volume.h"

namespace varve::tools {

// When opening for writing, all of these wait a few seconds for another writer
// to finish, unless that is a mount.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& path,
                                                 OpenMode mode);

// If this makes a root directory, the caller of the process owns it.
absl::StatusOr<std::unique_ptr<fs::Volume>> OpenVolume(
    const std::string& path, fs::VolumeOptions options);
// For commands that only read. Works while the store is mounted. Warns if the
// store was not closed. `at` is a moment, as fs/history/moment_names.h has
// them; empty for the newest.
absl::StatusOr<std::unique_ptr<fs::Volume>> OpenVolumeForReading(
    const std::string& path, const std::string& at = "");

// Closes the volume at the end of a command.
absl::Status CloseVolume(fs::Volume& volume);

// The failure for a store that is cut short (Volume::cut_short()).
absl::Status CutShort(const absl::Status& status);
// The text, behind the name of the store, for one that nobody uses and whose
// newest commit does not mark it as closed.
inline constexpr char kNotClosed[] =
    "was not closed properly: it was copied or downloaded in part or while in "
    "use, or its last use ended with a crash; the newest changes may be "
    "missing";
// Whether a process has the store open for writing.
bool IsInUse(const std::string& path);

// Repairs a store that is not in use. Errors are as those of OpenVolume().
absl::StatusOr<fs::RepairReport> RepairUnusedStore(const std::string& path);

// The user of this process, as the owner of files that it makes.
fs::Caller CurrentCaller();

// Waits until no process holds the writer's lock of the store.
// FAILED_PRECONDITION, naming the holder, if one still does after `limit`;
// NOT_FOUND if there is no such store; otherwise the reason why the lock cannot
// be tried.
absl::Status WaitUntilUnlocked(const std::string& path, absl::Duration limit);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_OPEN_STORE_H_
