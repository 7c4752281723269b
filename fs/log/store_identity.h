// Finding the identity of the tree in a store before the tree is loaded, and
// noticing that the file was cut short.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_LOG_STORE_IDENTITY_H_
#define VARVE_FS_LOG_STORE_IDENTITY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/entry/entry.h"
#include "engine/io/file.h"
#include "engine/mend/mend.h"
#include "engine/store/store.h"
#include "fs/format/identity.h"

namespace varve::fs {

// The identity in the store file at `path`; nothing if it has none. Opens the
// file as a store only if its first bytes do not tell. Writes nothing.
absl::StatusOr<std::optional<Identity>> FindIdentity(
    FileSystem& file_system, const std::string& path,
    const std::vector<Mend>& mends = {});

// The identity of a store whose file begins with it but has lost these bytes,
// from the newest copy of it (docs/format.md, section 4). Nothing if there is
// no copy, or if the file does begin with an identity. Writes nothing.
absl::StatusOr<std::optional<Identity>> FindIdentityCopy(
    FileSystem& file_system, const std::string& path);
// Whether the file begins with the store's identity, as it does unless another
// program has written before the store got its tree, or has compacted it. Only
// then a copy of the identity is worth keeping.
bool BeginsWithIdentity(const Store& store);

// The entry of the store's identity. It is the oldest under its key, because
// anybody may have appended later ones. NOT_FOUND if there is none. Does not
// verify the entry's checksum.
absl::StatusOr<EntryView> FindIdentityEntry(const Store& store);

// DATA_LOSS if the store's file is known to have been cut short: it holds no
// record of its tree, and is shorter than the identity says it was after a
// compaction. (A whole store always has at least one record.)
absl::Status CheckNotCutShort(const Store& store, const Identity& identity);
// Whether the status is such an error of CheckNotCutShort().
bool IsCutShort(const absl::Status& status);

// The value for OpenOptions::durable_tail of a store with this identity.
std::function<uint64_t(const EntryView&)> DurableTailOf(Identity identity);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_STORE_IDENTITY_H_
