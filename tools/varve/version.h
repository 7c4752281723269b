// The version of Varve, as `varve --version` and the status of a mount show it.

#ifndef VARVE_TOOLS_VARVE_VERSION_H_
#define VARVE_TOOLS_VARVE_VERSION_H_

namespace varve::tools {

inline constexpr char kVersion[] = "0.9.0";

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_VERSION_H_
