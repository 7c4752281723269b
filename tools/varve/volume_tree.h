// The tree of a store, to copy from and to.
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

// `volume` must outlive what is returned; `ino` is a directory.
std::unique_ptr<SourceDirectory> VolumeSource(fs::Volume& volume, uint64_t ino);
std::unique_ptr<TargetDirectory> VolumeTarget(fs::Volume& volume, uint64_t ino);

// Removes a name, and of a directory all that is in it. What cannot be removed
// is told, as "cannot remove <path>", and the rest is removed nevertheless.
// `progress` counts names.
void RemoveTree(fs::Volume& volume, uint64_t parent, const std::string& name,
                const fs::Stat& stat, const std::string& path,
                Progress& progress, Failures& failures);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_VOLUME_TREE_H_
