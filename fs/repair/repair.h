// Repair: a sound copy of a damaged store, in its place. The damaged store is
// kept, and so is every byte of its files.

#ifndef VARVE_FS_REPAIR_REPAIR_H_
#define VARVE_FS_REPAIR_REPAIR_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/io/file.h"

namespace varve::fs {

struct RepairReport {
  // Sentences about what was mended, and what could not be.
  std::vector<std::string> notes;
  // What happened to files, each as a sentence.
  std::vector<std::string> files;
  std::string kept;  // where the damaged store is now
};

// Writes what is sound of the store file at `path` into a new store, puts that
// in its place, and the damaged one beside it ("<path>.damaged" or the like).
//
// A damaged file is not in the new store under its own name. "<name>.damaged"
// has its bytes as they are, with zeros for what is not there at all, and
// "<name>.older" those of the newest sound version of it that the store still
// has, if it has one.
//
// Nobody else may have the store open for writing: FAILED_PRECONDITION
// (EWOULDBLOCK). DATA_LOSS if there is no store at all, or not even the
// identity of its tree is left; SystemError. On failure nothing has changed.
absl::StatusOr<RepairReport> RepairStore(FileSystem& file_system,
                                         const std::string& path);

}  // namespace varve::fs

#endif  // VARVE_FS_REPAIR_REPAIR_H_
