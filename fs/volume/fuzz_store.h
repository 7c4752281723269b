// Stores for fuzz targets: made from a script of bytes, with checksums, keys
// and links as they should be, so that what a fuzzer changes comes as far as
// the code that is to be tested; then damaged, if the script says so.

#ifndef VARVE_FS_VOLUME_FUZZ_STORE_H_
#define VARVE_FS_VOLUME_FUZZ_STORE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace varve::fs {

// The bytes of the store that a script describes. Any bytes are a script, and
// the same ones always give the same store, of some hundred bytes for each step
// at most.
std::string MakeFuzzStore(absl::string_view script);

// Makes the checksum of every entry in the chain be that of its payload.
void FixChecksums(std::string& store);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_FUZZ_STORE_H_
