// The tree of a store, as source and target of copies.
//
// Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_VOLUME_TREE_H_
#define VARVE_TOOLS_VARVE_VOLUME_TREE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "fs/volume/volume.h"
#include "tools/varve/failures.h"
#include "tools/varve/tree_copier.h"

namespace varve::tools {

// `volume` must outlive the result; `ino` must be a directory.
std::unique_ptr<SourceDirectory> VolumeSource(fs::Volume& volume, uint64_t ino);
std::unique_ptr<TargetDirectory> VolumeTarget(fs::Volume& volume, uint64_t ino);

// Removes a name and, if it is a directory, everything in it. Notes what cannot
// be removed as "cannot remove <path>", and removes the rest. `progress` counts
// names.
void RemoveTree(fs::Volume& volume, uint64_t parent, const std::string& name,
                const fs::Stat& stat, const std::string& path,
                Progress& progress, Failures& failures);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_VOLUME_TREE_H_
