// Makes completions for shells from the description of the command line. All of
// them complete options of a verb after a dash, files of the host for a store,
// and paths in the store, by `varve ls`, once the store has been named.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_COMPLETIONS_H_
#define VARVE_TOOLS_VARVE_COMPLETIONS_H_

#include <string>

#include "tools/varve/describe_app.h"

namespace varve::tools {

std::string BashCompletion(const Description& varve);
std::string ZshCompletion(const Description& varve);
std::string FishCompletion(const Description& varve);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_COMPLETIONS_H_
