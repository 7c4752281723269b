// Which tree a store holds, and whether all of it is there, found before the
// tree is loaded.
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
#include "engine/recovery/mend.h"
#include "engine/store/store.h"
#include "fs/format/identity.h"

namespace varve::fs {

// The identity in the store file at `path`, found without opening it as a
// store where possible; nothing if it has none. Nothing is written.
absl::StatusOr<std::optional<Identity>> FindIdentity(
    FileSystem& file_system, const std::string& path,
    const std::vector<Mend>& mends = {});

// The entry of the store's identity: the oldest under its key, as whoever comes
// later may be anybody. NOT_FOUND if there is none. Its checksum is not looked
// at.
absl::StatusOr<EntryView> FindIdentityEntry(const Store& store);

// DATA_LOSS if the store's file is known to have been cut short: it holds no
// record of its tree, and less than the identity says it held when it came from
// a compaction. (Whatever else is appended or dropped, at least one record
// stays.)
absl::Status CheckNotCutShort(const Store& store, const Identity& identity);
// Whether that is what the status says.
bool IsCutShort(const absl::Status& status);

// For OpenOptions::durable_tail of a store with that identity.
std::function<uint64_t(const EntryView&)> DurableTailOf(Identity identity);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_STORE_IDENTITY_H_
