// Manual pages, from the description of the command line.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_MANUAL_H_
#define VARVE_TOOLS_VARVE_MANUAL_H_

#include <string>
#include <vector>

#include "tools/varve/describe_app.h"
#include "tools/varve/mount_options.h"

namespace varve::tools {

// varve.1. `prose` is roff; what is up to its first .SH belongs to DESCRIPTION.
std::string ManualOfAll(const Description& varve, const std::string& prose);
// varve-VERB.1
std::string ManualOf(const Description& verb, const std::string& prose);
// mount.varve.8. `prose` is all of the page but the options, which come in the
// place of its comment about them. Throws std::runtime_error without that.
std::string ManualOfMountHelper(const std::vector<MountOptionText>& options,
                                const std::string& prose);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MANUAL_H_
