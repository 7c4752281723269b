// Makes manual pages from the description of the command line.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_MANUAL_H_
#define VARVE_TOOLS_VARVE_MANUAL_H_

#include <string>
#include <vector>

#include "tools/varve/describe_app.h"
#include "tools/varve/mount_options.h"

namespace varve::tools {

// Makes varve.1. `prose` is roff; the part before its first .SH goes into
// DESCRIPTION.
std::string ManualOfAll(const Description& varve, const std::string& prose);
// varve-VERB.1
std::string ManualOf(const Description& verb, const std::string& prose);
// Makes mount.varve.8. `prose` is the whole page except the options, which
// replace a comment in it. Throws std::runtime_error if that comment is
// missing.
std::string ManualOfMountHelper(const std::vector<MountOptionText>& options,
                                const std::string& prose);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MANUAL_H_
