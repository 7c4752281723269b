// The name `.varve`: below it, in its root, a mount shows what it knows of
// itself. No entry of a tree may have it there.

#ifndef VARVE_FS_BASE_CONTROL_NAME_H_
#define VARVE_FS_BASE_CONTROL_NAME_H_

#include "absl/strings/string_view.h"

namespace varve::fs {

inline constexpr absl::string_view kControlName = ".varve";

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_CONTROL_NAME_H_
