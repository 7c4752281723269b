// Stores for fuzz targets. A script of bytes describes a store whose checksums,
// keys and links are valid, so that a fuzzer's changes reach the code behind
// these checks. A script may also ask for damage.

#ifndef VARVE_FS_VOLUME_FUZZ_STORE_H_
#define VARVE_FS_VOLUME_FUZZ_STORE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace varve::fs {

// The bytes of the store that a script describes. Any bytes are a valid script,
// and the same script always gives the same store. Each step of a script adds
// at most some hundred bytes.
std::string MakeFuzzStore(absl::string_view script);

// Sets the checksum of every entry in the chain to that of its payload.
void FixChecksums(std::string& store);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_FUZZ_STORE_H_
