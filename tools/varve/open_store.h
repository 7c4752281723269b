// Opening a store for a command: the failures that users run into, each as one
// clear sentence with its exit status.
//
// What takes longer than a second shows so on a terminal (progress.h).
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

// For writing, all of these wait a few seconds for another writer to be done,
// unless it is a mount, which goes on.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& path,
                                                 OpenMode mode);

// The root directory, if it has to be made, will be the caller's.
absl::StatusOr<std::unique_ptr<fs::Volume>> OpenVolume(
    const std::string& path, fs::VolumeOptions options);
// For commands that only look; works while the store is mounted. Warns of one
// that was not closed.
absl::StatusOr<std::unique_ptr<fs::Volume>> OpenVolumeForReading(
    const std::string& path);

// Closes the volume at the end of a command.
absl::Status CloseVolume(fs::Volume& volume);

// What is said of a store that is cut short (Volume::cut_short()).
absl::Status CutShort(const absl::Status& status);
// And of one that nobody uses, and whose newest commit does not say that it was
// closed: behind its name.
inline constexpr char kNotClosed[] =
    "was not closed properly: it was copied or downloaded in part or while in "
    "use, or its last use ended with a crash; the newest changes may be "
    "missing";
// Whether somebody has the store open for writing.
bool IsInUse(const std::string& path);

// Repairs a store that is not in use. Errors as those of OpenVolume.
absl::StatusOr<fs::RepairReport> RepairUnusedStore(const std::string& path);

// The caller of this process, as owner of what it makes.
fs::Caller CurrentCaller();

// Waits until nobody holds the writer's lock of the store. FAILED_PRECONDITION
// naming the holder if it still does at the end; NOT_FOUND if there is no such
// store; otherwise why the lock cannot be tried.
absl::Status WaitUntilUnlocked(const std::string& path, absl::Duration limit);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_OPEN_STORE_H_
