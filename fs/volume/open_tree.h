// Opening of a tree: from the path of a store to a Core that is ready to be
// worked with.
//
// A free function without state; the thread that opens calls it.

#ifndef VARVE_FS_VOLUME_OPEN_TREE_H_
#define VARVE_FS_VOLUME_OPEN_TREE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/mend/mend.h"
#include "fs/base/incidents.h"
#include "fs/log/core.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

struct OpenReport {
  // Sentences about what was unusual, for the log.
  std::vector<std::string> notes;
  // If the store must have been cut short, why.
  absl::Status cut_short;
  bool closed_properly = true;
  // Why it was opened read-only though it was to be written to.
  absl::Status damage;
  // Where the store ended before anything was added.
  uint64_t first_tail = 0;
};

struct OpenContext {
  const VolumeOptions& options;
  const std::vector<Mend>& mends;           // laid over the store
  std::function<void()> on_space_pressure;  // see OpenOptions::on_shortage
  const Incidents& incidents;
};

// Opens the store at `path` into `core`, which is new, and takes up the tree
// in it; makes one if it has none. Says in `report` what it met. Errors: those
// of Volume::Open(); `core` is then good for nothing.
absl::Status OpenTree(const std::string& path, const OpenContext& context,
                      Core& core, OpenReport& report);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_OPEN_TREE_H_
