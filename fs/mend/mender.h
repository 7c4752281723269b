// Finding out what the bytes of a damaged store were before the damage, so that
// the store can be read. A single flipped bit in a record of the tree can be
// corrected: the checksum tells which bit it is, and the record's digest proves
// it.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_MEND_MENDER_H_
#define VARVE_FS_MEND_MENDER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/io/file.h"
#include "engine/mend/mend.h"

namespace varve::fs {

// Finds mends for the store file at `path`, to be passed as OpenOptions::mends.
// They correct links, the identity, commits and checkpoints, but not contents
// of files. Reads the whole store; writes nothing. Fails if the file is not a
// store.
absl::StatusOr<std::vector<Mend>> FindMends(FileSystem& file_system,
                                            const std::string& path);

}  // namespace varve::fs

#endif  // VARVE_FS_MEND_MENDER_H_
