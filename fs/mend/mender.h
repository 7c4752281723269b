// Finding what a damaged store of a tree held before the damage, so that it can
// be read. Of a tree's own records, single flipped bits can be put right: the
// checksum says where they are, and the record's digest proves it.

#ifndef VARVE_FS_MEND_MENDER_H_
#define VARVE_FS_MEND_MENDER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/io/file.h"
#include "engine/mend/mend.h"

namespace varve::fs {

// The mends of the store file at `path`, for OpenOptions::mends: of links, of
// the identity, of commits and checkpoints. What files hold is not among them.
// Reads the whole store; writes nothing. An error if it is no store.
absl::StatusOr<std::vector<Mend>> FindMends(FileSystem& file_system,
                                            const std::string& path);

}  // namespace varve::fs

#endif  // VARVE_FS_MEND_MENDER_H_
