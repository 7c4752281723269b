#include "tools/varve/tar_attributes.h"

#include <archive.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/format/acl.h"
#include "fs/format/timestamp.h"

namespace varve::tools {
namespace {

constexpr int kBillion = 1'000'000'000;
constexpr uint32_t kNobody = ~uint32_t{0};  // in entries that name nobody

// The names of one of the two access control lists on both sides.
struct AclKind {
  absl::string_view xattr;
  int type;
};
constexpr AclKind kAclKinds[] = {
    {fs::kAccessAclName, ARCHIVE_ENTRY_ACL_TYPE_ACCESS},
    {fs::kDefaultAclName, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT}};

// Tags of the kernel and of libarchive.
struct AclTag {
  uint16_t kernel;
  int archive;
};
constexpr AclTag kAclTags[] = {
    {0x01, ARCHIVE_ENTRY_ACL_USER_OBJ},  {0x02, ARCHIVE_ENTRY_ACL_USER},
    {0x04, ARCHIVE_ENTRY_ACL_GROUP_OBJ}, {0x08, ARCHIVE_ENTRY_ACL_GROUP},
    {0x10, ARCHIVE_ENTRY_ACL_MASK},      {0x20, ARCHIVE_ENTRY_ACL_OTHER}};

// The bytes of the attribute, which is little-endian, as Varve's hosts are.
struct AclEntry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id;
};
constexpr size_t kAclHeader = 4;
constexpr size_t kAclEntry = sizeof(AclEntry);
static_assert(kAclEntry == 8);
constexpr char kAclVersion[kAclHeader] = {2, 0, 0, 0};

absl::Status PutAcl(const AclKind& kind, absl::string_view value,
                    struct archive_entry* entry) {
  if (!fs::Acl::Decode(value).has_value()) {
    return ErrorWithNumber(
        EINVAL, absl::StrCat("attribute ", kind.xattr, " is malformed"));
  }
  for (size_t at = kAclHeader; at + kAclEntry <= value.size();
       at += kAclEntry) {
    AclEntry acl;
    memcpy(&acl, value.data() + at, kAclEntry);
    for (const AclTag& known : kAclTags) {
      if (known.kernel != acl.tag) continue;
      // If there is no name, the number stands in its place.
      const int status = archive_entry_acl_add_entry(
          entry, kind.type, acl.permissions, known.archive,
          static_cast<int>(acl.id), nullptr);
      if (status != ARCHIVE_OK) {
        return ErrorWithNumber(
            EINVAL, absl::StrCat("attribute ", kind.xattr, " is malformed"));
      }
    }
  }
  return absl::OkStatus();
}

// Lists name users and groups by name, or by number if tar was told so.
absl::StatusOr<uint32_t> AclIdOf(int tag, int id, const char* name) {
  if (tag != ARCHIVE_ENTRY_ACL_USER && tag != ARCHIVE_ENTRY_ACL_GROUP) {
    return kNobody;
  }
  if (id != -1) return static_cast<uint32_t>(id);
  if (name != nullptr && tag == ARCHIVE_ENTRY_ACL_USER) {
    if (const struct passwd* const user = getpwnam(name)) return user->pw_uid;
  } else if (name != nullptr) {
    if (const struct group* const group = getgrnam(name)) return group->gr_gid;
  }
  return ErrorWithNumber(
      EINVAL,
      absl::StrCat("its access control list names \"",
                   name == nullptr ? "" : name, "\", who is unknown here"));
}

absl::StatusOr<std::optional<std::string>> GetAcl(const AclKind& kind,
                                                  struct archive_entry* entry) {
  if (archive_entry_acl_reset(entry, kind.type) == 0) return std::nullopt;
  std::vector<AclEntry> acl;
  int type = 0, permissions = 0, tag = 0, id = 0;
  const char* name = nullptr;
  while (archive_entry_acl_next(entry, kind.type, &type, &permissions, &tag,
                                &id, &name) == ARCHIVE_OK) {
    for (const AclTag& known : kAclTags) {
      if (known.archive != tag) continue;
      VARVE_ASSIGN_OR_RETURN(const uint32_t who, AclIdOf(tag, id, name));
      acl.push_back({known.kernel, static_cast<uint16_t>(permissions), who});
    }
  }
  std::sort(acl.begin(), acl.end(), [](const AclEntry& a, const AclEntry& b) {
    return std::pair(a.tag, a.id) < std::pair(b.tag, b.id);
  });
  std::string value(kAclVersion, kAclHeader);
  for (const AclEntry& one : acl) {
    value.append(reinterpret_cast<const char*>(&one), kAclEntry);
  }
  if (!fs::Acl::Decode(value).has_value()) {
    return ErrorWithNumber(EINVAL, "its access control list is malformed");
  }
  return value;
}

// Before 1970, pax counts the fraction down from the seconds, as decimal
// numbers do. Timestamps and callers of libarchive count it up. libarchive does
// not convert.
std::pair<time_t, long> TurnBefore1970(time_t seconds, long nanoseconds,
                                       int step) {
  if (seconds >= 0 || nanoseconds == 0) return {seconds, nanoseconds};
  return {seconds + step, kBillion - nanoseconds};
}

std::pair<time_t, long> PaxTime(fs::Timestamp time) {
  const struct timespec spec = time.ToTimespec();
  // There is no -0, so a time less than a second before 1970 becomes 1970.
  if (spec.tv_sec == -1 && spec.tv_nsec != 0) return {0, 0};
  return TurnBefore1970(spec.tv_sec, spec.tv_nsec, 1);
}

fs::Timestamp FromPaxTime(time_t pax_seconds, long pax_nanoseconds) {
  const auto [seconds, nanoseconds] =
      TurnBefore1970(pax_seconds, pax_nanoseconds, -1);
  return fs::Timestamp::From({.tv_sec = seconds, .tv_nsec = nanoseconds});
}

// Tar programs write some characters in names of attributes as "%3D".
std::string PercentDecoded(absl::string_view name) {
  std::string result;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '%' && i + 2 < name.size() &&
        absl::ascii_isxdigit(static_cast<unsigned char>(name[i + 1])) &&
        absl::ascii_isxdigit(static_cast<unsigned char>(name[i + 2]))) {
      result += absl::HexStringToBytes(name.substr(i + 1, 2));
      i += 2;
    } else {
      result += name[i];
    }
  }
  return result;
}

Xattrs GetXattrs(struct archive_entry* entry) {
  Xattrs raw;
  archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    raw.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
  // bsdtar writes each attribute twice, once decoded.
  absl::flat_hash_set<std::string> decoded;
  for (const auto& [encoded, unused] : raw) {
    std::string plain = PercentDecoded(encoded);
    if (plain != encoded) decoded.insert(std::move(plain));
  }
  Xattrs result;
  absl::flat_hash_set<std::string> taken;
  for (auto& [encoded, bytes] : raw) {
    std::string plain =
        decoded.contains(encoded) ? encoded : PercentDecoded(encoded);
    if (!IsKeptXattr(plain) || !taken.insert(plain).second) continue;
    result.emplace_back(std::move(plain), std::move(bytes));
  }
  return result;
}

}  // namespace

absl::Status PutAttributes(const Dress& dress, struct archive_entry* entry) {
  const Node& node = dress.node;
  archive_entry_set_mode(entry, node.mode);
  archive_entry_set_uid(entry, node.uid);
  archive_entry_set_gid(entry, node.gid);
  if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
    archive_entry_set_rdevmajor(entry, major(node.rdev));
    archive_entry_set_rdevminor(entry, minor(node.rdev));
  }
  archive_entry_set_size(
      entry, S_ISREG(node.mode) ? static_cast<int64_t>(node.size) : 0);
  const auto [mtime, mtime_fraction] = PaxTime(node.mtime);
  archive_entry_set_mtime(entry, mtime, mtime_fraction);
  const auto [atime, atime_fraction] = PaxTime(node.atime);
  archive_entry_set_atime(entry, atime, atime_fraction);
  for (const auto& [name, value] : dress.xattrs) {
    const auto* const kind = std::find_if(
        std::begin(kAclKinds), std::end(kAclKinds),
        [&name = name](const AclKind& k) { return k.xattr == name; });
    if (kind != std::end(kAclKinds)) {
      VARVE_RETURN_IF_ERROR(PutAcl(*kind, value, entry));
    } else {
      archive_entry_xattr_add_entry(entry, name.c_str(), value.data(),
                                    value.size());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Dress> GetAttributes(struct archive_entry* entry) {
  Dress dress;
  Node& node = dress.node;
  const int64_t uid = archive_entry_uid(entry);
  const int64_t gid = archive_entry_gid(entry);
  constexpr int64_t kMaxId = std::numeric_limits<uint32_t>::max() - 1;
  if (uid < 0 || gid < 0 || uid > kMaxId || gid > kMaxId) {
    return ErrorWithNumber(EOVERFLOW,
                           absl::StrCat("there is no owner ", uid, ":", gid));
  }
  const int64_t size = archive_entry_size(entry);
  if (size < 0) return ErrorWithNumber(EOVERFLOW, "its size is negative");
  node.mode = archive_entry_mode(entry);
  node.uid = static_cast<uint32_t>(uid);
  node.gid = static_cast<uint32_t>(gid);
  node.rdev = static_cast<uint32_t>(
      makedev(archive_entry_rdevmajor(entry), archive_entry_rdevminor(entry)));
  node.size = static_cast<uint64_t>(size);
  node.mtime =
      FromPaxTime(archive_entry_mtime(entry), archive_entry_mtime_nsec(entry));
  node.atime = archive_entry_atime_is_set(entry)
                   ? FromPaxTime(archive_entry_atime(entry),
                                 archive_entry_atime_nsec(entry))
                   : node.mtime;
  dress.xattrs = GetXattrs(entry);
  for (const AclKind& kind : kAclKinds) {
    VARVE_ASSIGN_OR_RETURN(auto acl, GetAcl(kind, entry));
    if (!acl.has_value()) continue;
    const auto same = std::find_if(
        dress.xattrs.begin(), dress.xattrs.end(),
        [&kind](const auto& xattr) { return xattr.first == kind.xattr; });
    if (same != dress.xattrs.end()) dress.xattrs.erase(same);
    dress.xattrs.emplace_back(std::string(kind.xattr), *std::move(acl));
  }
  return dress;
}

}  // namespace varve::tools
