// POSIX access control lists, as the extended attributes
// system.posix_acl_access and system.posix_acl_default hold them. The kernel
// checks permissions against them. This code computes what they mean for modes
// and for new files. The rules are those of POSIX 1003.1e draft 17 as Linux
// implements them: acl(5).
//
// Thread-safe: values and free functions.

#ifndef VARVE_FS_FORMAT_ACL_H_
#define VARVE_FS_FORMAT_ACL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace varve::fs {

inline constexpr absl::string_view kAccessAclName = "system.posix_acl_access";
inline constexpr absl::string_view kDefaultAclName = "system.posix_acl_default";

class Acl {
 public:
  // Decodes the value of an attribute. Returns nothing unless it is a list in
  // the kernel's form: version 2, entries in order, with all entries that a
  // list must have.
  static std::optional<Acl> Decode(absl::string_view value);
  std::string Encode() const;

  // Returns `mode` with the permission bits that the list implies. Other bits
  // stay as they are.
  uint32_t ApplyToMode(uint32_t mode) const;
  // Whether the permission bits of a mode can express the whole list.
  bool IsJustMode() const;
  // Changes the access list of a file as a chmod to `mode` does.
  void ChangeMode(uint32_t mode);
  // Makes a copy of a directory's default list the access list of a new file
  // in it that is created with `mode`; returns the mode that the file gets.
  uint32_t Inherit(uint32_t mode);

 private:
  struct Entry {
    uint16_t tag;
    uint16_t permissions;
    uint32_t id;
  };

  // The entry with that tag. The list must have one.
  Entry* Find(uint16_t tag);
  const Entry* Find(uint16_t tag) const;
  // The entry that stands for the group bits of the mode.
  Entry& GroupClass();

  std::vector<Entry> entries_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_ACL_H_
