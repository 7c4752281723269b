#include "tools/varve/mount_holders.h"

#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "tools/varve/host.h"
#include "tools/varve/mountinfo.h"

namespace varve::tools {
namespace {

// The mount namespace of a process; empty if it cannot be examined.
std::string NamespaceOf(absl::string_view process) {
  std::string name(PATH_MAX, '\0');
  const ssize_t size =
      readlink(absl::StrCat("/proc/", process, "/ns/mnt").c_str(), name.data(),
               name.size());
  return size > 0 ? name.substr(0, static_cast<size_t>(size)) : "";
}

std::vector<pid_t> Processes() {
  std::vector<pid_t> pids;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end;
       !error && entry != end; entry.increment(error)) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(entry->path().filename().string(), &pid)) {
      pids.push_back(pid);
    }
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

std::string CommandOf(pid_t pid) {
  const auto name = ReadHostFile(absl::StrCat("/proc/", pid, "/comm"));
  return name.ok() ? std::string(absl::StripSuffix(*name, "\n")) : "";
}

std::string Describe(const MountHolder& holder) {
  if (holder.name_space.empty()) return holder.directory;
  return absl::StrCat(holder.directory, " in the mount namespace ",
                      holder.name_space, " of pid ", holder.pid, " (",
                      holder.command, ")");
}

}  // namespace

std::vector<MountHolder> FindMountHolders(const MountInfo& mount) {
  std::vector<MountHolder> holders;
  const std::string own = NamespaceOf("self");
  std::set<std::string> seen = {""};
  std::vector<pid_t> pids = Processes();
  pids.insert(pids.begin(), getpid());
  for (const pid_t pid : pids) {
    const std::string process = absl::StrCat(pid);
    const std::string name_space = NamespaceOf(process);
    if (!seen.insert(name_space).second) continue;
    // The process may have just ended.
    const auto mounts = ReadMountInfo(process);
    if (!mounts.ok()) {
      seen.erase(name_space);
      continue;
    }
    std::set<std::string> places;
    for (const MountInfo& other : *mounts) {
      // Another file system may have got the same device number meanwhile.
      if (other.device != mount.device || other.type != mount.type ||
          other.source != mount.source) {
        continue;
      }
      // Bind mounts propagate and may then lie on top of each other.
      if (!places.insert(other.directory).second) continue;
      holders.push_back({.pid = pid,
                         .command = CommandOf(pid),
                         .name_space = name_space == own ? "" : name_space,
                         .directory = other.directory});
    }
  }
  return holders;
}

std::string DescribeHolders(const std::vector<MountHolder>& holders) {
  constexpr size_t kMost = 3;
  std::vector<std::string> texts;
  for (const MountHolder& holder : holders) {
    if (texts.size() == kMost) {
      texts.push_back(absl::StrCat(holders.size() - kMost, " more"));
      break;
    }
    texts.push_back(Describe(holder));
  }
  return absl::StrJoin(texts, ", and ");
}

bool IsStopped(pid_t pid) {
  const auto text = ReadHostFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!text.ok()) return false;
  // The name in front of the state may contain anything.
  const size_t end = text->rfind(") ");
  if (end == std::string::npos || end + 2 >= text->size()) return false;
  const char state = (*text)[end + 2];
  return state == 'T' || state == 't';
}

}  // namespace varve::tools
