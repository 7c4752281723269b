// Lists the names in a directory of a tree, a part at a time.

#ifndef VARVE_FS_VOLUME_LIST_NAMES_H_
#define VARVE_FS_VOLUME_LIST_NAMES_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

// A name in a listing.
struct ListedName {
  absl::string_view text;
  const NameItem* item;  // null for "." and ".."
  uint64_t cookie;       // where to go on behind it
};

// The cookie behind "." and "..", at which a listing may begin.
inline constexpr uint64_t kCookieBehindDots = 2;

// Calls `visit` with ".", ".." and the names behind `cookie` (0: all), until it
// returns false or fails. A name that exists throughout a listing is visited
// once; one that is made meanwhile is not visited. DATA_LOSS if a node is
// damaged.
absl::Status ListNames(
    const TreeReader& tree, const InodeItem& directory, uint64_t cookie,
    absl::FunctionRef<absl::StatusOr<bool>(const ListedName&)> visit);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_LIST_NAMES_H_
