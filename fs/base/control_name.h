// The name `.varve` in the root of a mount. Below it the mount shows its own
// state. No entry in the root of a tree may have this name.

#ifndef VARVE_FS_BASE_CONTROL_NAME_H_
#define VARVE_FS_BASE_CONTROL_NAME_H_

#include "absl/strings/string_view.h"

namespace varve::fs {

inline constexpr absl::string_view kControlName = ".varve";

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_CONTROL_NAME_H_
