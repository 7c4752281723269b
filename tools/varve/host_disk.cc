#include "tools/varve/host_disk.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace varve::tools {
namespace {

bool LiesIn(const std::string& path, const std::string& directory) {
  return path == directory || directory == "/" ||
         absl::StartsWith(path, absl::StrCat(directory, "/"));
}

}  // namespace

std::optional<MountInfo> MountAround(const std::vector<MountInfo>& mounts,
                                     const std::string& path) {
  const MountInfo* found = nullptr;
  for (const MountInfo& mount : mounts) {
    // Of two at one place, the later one hides the other.
    if (LiesIn(path, mount.directory) &&
        (found == nullptr ||
         mount.directory.size() >= found->directory.size())) {
      found = &mount;
    }
  }
  return found == nullptr ? std::nullopt : std::make_optional(*found);
}

bool IsReadOnlyDisk(const MountInfo& mount) {
  // ext4 since Linux 6.16 stays "rw" after an error, and adds a word.
  const auto says_so = [](const std::string& option) {
    return option == "ro" || option == "emergency_ro";
  };
  return mount.read_only || std::any_of(mount.super_options.begin(),
                                        mount.super_options.end(), says_so);
}

bool LiesOnReadOnlyDisk(const std::string& path) {
  const auto mounts = ReadMountInfo();
  if (!mounts.ok()) return false;
  const std::optional<MountInfo> mount = MountAround(*mounts, path);
  return mount.has_value() && IsReadOnlyDisk(*mount);
}

}  // namespace varve::tools
