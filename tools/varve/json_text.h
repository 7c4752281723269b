// JSON as the command prints it. Bytes of names and paths that are not UTF-8
// become U+FFFD.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_JSON_TEXT_H_
#define VARVE_TOOLS_VARVE_JSON_TEXT_H_

#include <nlohmann/json.hpp>
#include <string>

namespace varve::tools {

// Without a line break.
inline std::string JsonLine(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false,
                   nlohmann::ordered_json::error_handler_t::replace);
}

// Indented, with a line break at the end.
inline std::string JsonText(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/false,
                   nlohmann::ordered_json::error_handler_t::replace) +
         "\n";
}

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_JSON_TEXT_H_
