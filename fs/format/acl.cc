#include "fs/format/acl.h"

#include <algorithm>

#include "fs/format/wire.h"

namespace varve::fs {
namespace {

// linux/posix_acl.h and linux/posix_acl_xattr.h.
constexpr uint32_t kVersion = 2;
constexpr uint16_t kUserObject = 0x01;
constexpr uint16_t kUser = 0x02;
constexpr uint16_t kGroupObject = 0x04;
constexpr uint16_t kGroup = 0x08;
constexpr uint16_t kMask = 0x10;
constexpr uint16_t kOther = 0x20;

constexpr uint32_t kBits = 07;  // of one class

// Removes from an entry the permissions that the mode does not grant to its
// class, and from the mode's class those that the entry does not grant.
void Meet(uint16_t& permissions, uint32_t& mode, int shift) {
  permissions &= static_cast<uint16_t>((mode >> shift) & kBits);
  mode &= (uint32_t{permissions} << shift) | ~(kBits << shift);
}

}  // namespace

std::optional<Acl> Acl::Decode(absl::string_view value) {
  WireReader in(value);
  if (in.U32() != kVersion) return std::nullopt;
  Acl acl;
  uint32_t seen = 0;
  while (!in.at_end()) {
    const uint16_t tag = in.U16();
    const uint16_t permissions = in.U16();
    const Entry entry{.tag = tag, .permissions = permissions, .id = in.U32()};
    const bool named = entry.tag == kUser || entry.tag == kGroup;
    const bool known = named || entry.tag == kUserObject ||
                       entry.tag == kGroupObject || entry.tag == kMask ||
                       entry.tag == kOther;
    if (!known || entry.permissions > kBits ||
        (!named && (seen & entry.tag) != 0) ||
        (!acl.entries_.empty() && acl.entries_.back().tag > entry.tag)) {
      return std::nullopt;
    }
    seen |= entry.tag;
    acl.entries_.push_back(entry);
  }
  constexpr uint32_t kRequired = kUserObject | kGroupObject | kOther;
  const bool needs_mask = (seen & (kUser | kGroup)) != 0;
  if (!in.ok() || (seen & kRequired) != kRequired ||
      (needs_mask && (seen & kMask) == 0)) {
    return std::nullopt;
  }
  return acl;
}

std::string Acl::Encode() const {
  std::string value;
  WireWriter out(&value);
  out.U32(kVersion);
  for (const Entry& entry : entries_) {
    out.U16(entry.tag);
    out.U16(entry.permissions);
    out.U32(entry.id);
  }
  return value;
}

Acl::Entry* Acl::Find(uint16_t tag) {
  const auto it = std::find_if(entries_.begin(), entries_.end(),
                               [tag](const Entry& e) { return e.tag == tag; });
  return it == entries_.end() ? nullptr : &*it;
}

const Acl::Entry* Acl::Find(uint16_t tag) const {
  return const_cast<Acl*>(this)->Find(tag);
}

Acl::Entry& Acl::GroupClass() {
  Entry* mask = Find(kMask);
  return mask != nullptr ? *mask : *Find(kGroupObject);
}

uint32_t Acl::ApplyToMode(uint32_t mode) const {
  const Entry* mask = Find(kMask);
  const Entry* group = mask != nullptr ? mask : Find(kGroupObject);
  return (mode & ~0777u) | (uint32_t{Find(kUserObject)->permissions} << 6) |
         (uint32_t{group->permissions} << 3) | Find(kOther)->permissions;
}

bool Acl::IsJustMode() const { return entries_.size() == 3; }

void Acl::ChangeMode(uint32_t mode) {
  Find(kUserObject)->permissions = static_cast<uint16_t>((mode >> 6) & kBits);
  GroupClass().permissions = static_cast<uint16_t>((mode >> 3) & kBits);
  Find(kOther)->permissions = static_cast<uint16_t>(mode & kBits);
}

uint32_t Acl::Inherit(uint32_t mode) {
  Meet(Find(kUserObject)->permissions, mode, 6);
  Meet(GroupClass().permissions, mode, 3);
  Meet(Find(kOther)->permissions, mode, 0);
  return mode;
}

}  // namespace varve::fs
