// OpenTree: opens the store at a path and sets up a Core for it, so that it is
// ready for use.
//
// Thread-safe: there is no state. The Core must not be shared yet.

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
  // Why the store is believed to have been cut short; OK if it is not.
  absl::Status cut_short;
  bool closed_properly = true;
  // Why the store was opened read-only although it should be writable; OK if it
  // was not.
  absl::Status damage;
  // Where the store ended before anything was added.
  uint64_t first_tail = 0;
  // Another program has compacted the store, so that no past moment can be
  // read, and as the store is read-only, the tree does not say so yet.
  bool past_is_lost = false;
};

struct OpenContext {
  const VolumeOptions& options;
  const std::vector<Mend>& mends;  // laid over the store
  std::function<void()>
      on_space_pressure;  // see OpenOptions::on_space_pressure
  const Incidents& incidents;
};

// Opens the store at `path` into `core`, which must be new, and loads the tree
// in it, or makes one if there is none. Fills `report`. Errors: those of
// Volume::Open(); afterwards, `core` must be destroyed.
absl::Status OpenTree(const std::string& path, const OpenContext& context,
                      Core& core, OpenReport& report);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_OPEN_TREE_H_
