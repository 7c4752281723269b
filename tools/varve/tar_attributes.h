// What belongs to a file, as an entry of libarchive has it, and back.
//
// libarchive takes names in the locale's encoding, which is to be UTF-8 when an
// archive is written, so that names are marked as binary only if they are not
// UTF-8. When one is read it is to be "C": otherwise names would be normalized,
// and be other names.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_TAR_ATTRIBUTES_H_
#define VARVE_TOOLS_VARVE_TAR_ATTRIBUTES_H_

#include <archive_entry.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/varve/tree_copier.h"

namespace varve::tools {

// All but name, content and target.
absl::Status PutAttributes(const Dress& dress, struct archive_entry* entry);

// The same, of an entry that was read. An error if it has something that no
// store can keep, like an owner beyond 32 bits.
absl::StatusOr<Dress> GetAttributes(struct archive_entry* entry);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TAR_ATTRIBUTES_H_
