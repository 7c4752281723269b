// Thread-safe: a constant.

#ifndef VARVE_FS_BASE_RESERVED_NAME_H_
#define VARVE_FS_BASE_RESERVED_NAME_H_

#include "absl/strings/string_view.h"

namespace varve::fs {

// In the root of a tree: the control directory of a mount, and no file's name.
inline constexpr absl::string_view kReservedName = ".varve";

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_RESERVED_NAME_H_
