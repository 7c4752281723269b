// Suggests what a user may have meant by an unknown word.
//
// Thread-safe: a free function without state.

#ifndef VARVE_TOOLS_VARVE_SUGGEST_H_
#define VARVE_TOOLS_VARVE_SUGGEST_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace varve::tools {

// The word of `known` that `word` becomes by changing, removing, inserting or
// swapping the fewest letters. Nothing if that takes too many.
std::optional<std::string> Suggest(absl::string_view word,
                                   const std::vector<std::string>& known);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_SUGGEST_H_
