// Checks for raw commands, which know nothing of trees, in a store that holds a
// tree.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_RAW_TREE_H_
#define VARVE_TOOLS_VARVE_RAW_TREE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/store/store.h"

namespace varve::tools {

// Opens the store to write entries into it. If it has a tree that was not
// closed properly, this opens and closes the tree first. Otherwise the next
// mount would take the new entries, which come after an unclean end, for
// unfinished work.
absl::StatusOr<std::unique_ptr<Store>> OpenStoreForRawWriting(
    const std::string& path, OpenMode mode);

// ExitStatus::kRefused if the store holds a tree that reserves this key for
// itself, or that would take the new entry for a record of its own. `value` is
// the beginning of the new payload.
absl::Status CheckRawKey(const Store& store, absl::string_view key,
                         absl::string_view value);

// Compacts the store to the live entries. ExitStatus::kRefused, with nothing
// changed, if a file of the tree needs bytes of another entry, whose key has
// been deleted or overwritten since.
absl::Status CompactRaw(const std::string& path);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_RAW_TREE_H_
