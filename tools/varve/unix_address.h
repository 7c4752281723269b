// Addresses of Unix sockets as people write them: a path, or "@" and a name in
// the abstract namespace.
//
// Thread-safe: a free function without state.

#ifndef VARVE_TOOLS_VARVE_UNIX_ADDRESS_H_
#define VARVE_TOOLS_VARVE_UNIX_ADDRESS_H_

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <optional>

#include "absl/strings/string_view.h"

namespace varve::tools {

struct UnixAddress {
  struct sockaddr_un address = {};
  socklen_t size = 0;

  const struct sockaddr* get() const {
    return reinterpret_cast<const struct sockaddr*>(&address);
  }
};

// Returns nothing if the text is neither, or too long.
inline std::optional<UnixAddress> ParseUnixAddress(absl::string_view text) {
  UnixAddress result;
  auto& path = result.address.sun_path;
  if (text.size() < 2 || text.size() >= sizeof(path)) return std::nullopt;
  if (text[0] != '/' && text[0] != '@') return std::nullopt;
  result.address.sun_family = AF_UNIX;
  std::memcpy(path, text.data(), text.size());
  if (text[0] == '@') path[0] = '\0';
  // A path ends with a NUL. In an abstract name all bytes count.
  result.size = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) +
                                       text.size() + (text[0] == '/' ? 1 : 0));
  return result;
}

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_UNIX_ADDRESS_H_
