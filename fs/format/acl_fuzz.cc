// Decodes access control lists from arbitrary bytes, as any user can pass them
// to setxattr(2). A decoded list must have every mandatory entry, must encode
// to the bytes that it came from, and must stay a valid list whatever modes are
// applied to it.

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "absl/strings/string_view.h"
#include "fs/format/acl.h"

namespace varve::fs {
namespace {

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "acl_fuzz: %s\n", what);
  std::abort();
}

void CheckIsList(const Acl& acl, uint32_t mode) {
  const std::optional<Acl> again = Acl::Decode(acl.Encode());
  Check(again.has_value(), "a list is none any more");
  Check(again->ApplyToMode(mode) == acl.ApplyToMode(mode),
        "an encoded list says something else");
}

void CheckModes(const Acl& acl, uint32_t mode) {
  Check((acl.ApplyToMode(mode) & ~0777u) == (mode & ~0777u),
        "a list changes more than permissions");
  Acl changed = acl;
  changed.ChangeMode(mode);
  Check(changed.ApplyToMode(mode) == mode, "a mode was set and is not there");
  CheckIsList(changed, mode);
  Acl inherited = acl;
  const uint32_t given = inherited.Inherit(mode);
  Check((given & ~mode) == 0, "a file inherits more than its mode");
  Check(inherited.ApplyToMode(given) == given,
        "mode and list of a new file differ");
  CheckIsList(inherited, mode);
}

void RunInput(absl::string_view input) {
  uint32_t mode = 0;
  const size_t head = std::min(input.size(), sizeof(mode));
  std::copy_n(input.data(), head, reinterpret_cast<char*>(&mode));
  input.remove_prefix(head);
  // In a block of exactly the size, so that the sanitizer notices reads beyond
  // it.
  const auto memory = std::make_unique<char[]>(input.size());
  std::copy_n(input.data(), input.size(), memory.get());
  const absl::string_view value(memory.get(), input.size());
  const std::optional<Acl> acl = Acl::Decode(value);
  if (!acl.has_value()) return;
  Check(acl->Encode() == value, "a list is encoded as other bytes");
  CheckModes(*acl, mode);
  CheckModes(*acl, S_IFREG | 0644);
  CheckModes(*acl, S_IFDIR | 02700);
}

}  // namespace
}  // namespace varve::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  varve::fs::RunInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
