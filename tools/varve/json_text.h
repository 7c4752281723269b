// JSON as the command prints it. Bytes of names and paths that are not UTF-8
// become U+FFFD.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_JSON_TEXT_H_
#define VARVE_TOOLS_VARVE_JSON_TEXT_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/escaping.h"

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

// Sets a member to a name or path. Names are bytes, and JSON holds text: the
// bytes of what is not UTF-8 are given in hex as well, as MEMBER_hex.
inline void AddText(nlohmann::ordered_json& json, const std::string& member,
                    const std::string& bytes) {
  using Handler = nlohmann::ordered_json::error_handler_t;
  json[member] = bytes;
  const auto dump = [&](Handler handler) {
    return json[member].dump(-1, ' ', false, handler);
  };
  if (dump(Handler::replace) != dump(Handler::ignore)) {
    json[member + "_hex"] = absl::BytesToHexString(bytes);
  }
}

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_JSON_TEXT_H_
