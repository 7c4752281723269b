// What raw commands, which know nothing of trees, have to respect in a store
// that holds one.
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
// closed properly, the tree is opened and closed first: it takes for unfinished
// work what comes after an unclean end, and what is going to be written is not.
absl::StatusOr<std::unique_ptr<Store>> OpenStoreForRawWriting(
    const std::string& path, OpenMode mode);

// ExitStatus::kRefused if the tree in the store, if there is one, keeps
// something of its own under that key, or would take `value`, the first bytes
// of what is to be written there, for a record of its own.
absl::Status CheckRawKey(const Store& store, absl::string_view key,
                         absl::string_view value);

// Compacts to the live entries. ExitStatus::kRefused, and nothing has changed,
// if a file of the tree needs bytes that are in none of them: those of an entry
// whose key has been deleted or overwritten since.
absl::Status CompactRaw(const std::string& path);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_RAW_TREE_H_
