// Converts the attributes of a file to those of an entry of libarchive, and
// back.
//
// libarchive takes names in the encoding of the locale. When an archive is
// written, that must be UTF-8, so that only names that are not UTF-8 are marked
// as binary. When one is read, it must be "C", because otherwise libarchive
// would normalise names and so change them.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_TAR_ATTRIBUTES_H_
#define VARVE_TOOLS_VARVE_TAR_ATTRIBUTES_H_

#include <archive_entry.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/varve/tree_copier.h"

namespace varve::tools {

// Sets everything except name, content and target.
absl::Status PutAttributes(const Dress& dress, struct archive_entry* entry);

// Gets the same from an entry that was read. An error if it has an attribute
// that no store can keep, such as an owner beyond 32 bits.
absl::StatusOr<Dress> GetAttributes(struct archive_entry* entry);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TAR_ATTRIBUTES_H_
