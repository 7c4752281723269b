#include "tools/varve/mountinfo.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "tools/varve/host.h"

namespace varve::tools {
namespace {

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes spaces, backslashes and the like as three octal digits.
std::string Unescape(absl::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) &&
        IsOctal(text[i + 2]) && IsOctal(text[i + 3])) {
      result += static_cast<char>((text[i + 1] - '0') * 64 +
                                  (text[i + 2] - '0') * 8 + text[i + 3] - '0');
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

// For example (proc_pid_mountinfo(5)):
//   36 35 0:45 / /mnt/x rw,nosuid shared:1 - fuse.varve /home/x.store rw
// with any number of fields before the dash.
std::optional<MountInfo> ParseLine(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
  constexpr size_t kFirstOptional = 6;
  if (fields.size() < kFirstOptional) return std::nullopt;
  const auto dash =
      std::find(fields.begin() + kFirstOptional, fields.end(), "-");
  if (fields.end() - dash < 3) return std::nullopt;
  MountInfo mount;
  if (!absl::SimpleAtoi(fields[0], &mount.id) ||
      !absl::SimpleAtoi(fields[1], &mount.parent_id)) {
    return std::nullopt;
  }
  mount.device = std::string(fields[2]);
  mount.directory = Unescape(fields[4]);
  mount.options = absl::StrSplit(fields[5], ',');
  mount.read_only = std::find(mount.options.begin(), mount.options.end(),
                              "ro") != mount.options.end();
  mount.type = Unescape(*(dash + 1));
  mount.source = Unescape(*(dash + 2));
  if (fields.end() - dash > 3) {
    mount.super_options = absl::StrSplit(*(dash + 3), ',');
  }
  return mount;
}

}  // namespace

std::vector<MountInfo> ParseMountInfo(absl::string_view text) {
  std::vector<MountInfo> mounts;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (auto mount = ParseLine(line)) mounts.push_back(*std::move(mount));
  }
  return mounts;
}

absl::StatusOr<std::vector<MountInfo>> ReadMountInfo(
    absl::string_view process) {
  VARVE_ASSIGN_OR_RETURN(
      const std::string text,
      ReadHostFile(absl::StrCat("/proc/", process, "/mountinfo")));
  return ParseMountInfo(text);
}

std::optional<MountInfo> FindMountAt(const std::vector<MountInfo>& mounts,
                                     absl::string_view directory) {
  const auto is_here = [directory](const MountInfo& mount) {
    return mount.directory == directory;
  };
  for (const MountInfo& mount : mounts) {
    // A mount that another one covers is hidden.
    const auto hides = [&](const MountInfo& other) {
      return is_here(other) && other.parent_id == mount.id;
    };
    if (is_here(mount) && std::none_of(mounts.begin(), mounts.end(), hides)) {
      return mount;
    }
  }
  return std::nullopt;
}

std::vector<std::string> MountpointsOf(const std::vector<MountInfo>& mounts,
                                       absl::string_view store) {
  std::vector<std::string> directories;
  for (const MountInfo& mount : mounts) {
    if (mount.is_varve() && mount.source == store) {
      directories.push_back(mount.directory);
    }
  }
  return directories;
}

}  // namespace varve::tools
