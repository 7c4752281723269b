// What a user may have meant by a word that is none of those known.
//
// Thread-safe: a free function without state.

#ifndef VARVE_TOOLS_VARVE_SUGGEST_H_
#define VARVE_TOOLS_VARVE_SUGGEST_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace varve::tools {

// The one of `known` that takes the fewest letters to be changed, left out, put
// in or swapped with their neighbour. Nothing if too many would have to be.
std::optional<std::string> Suggest(absl::string_view word,
                                   const std::vector<std::string>& known);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_SUGGEST_H_
