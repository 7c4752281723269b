#include "engine/io/lock_holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace varve {
namespace {

struct DirectoryCloser {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, DirectoryCloser>;

// The next entry whose name is a number; nothing at the end.
std::optional<int> NextNumber(DIR* directory) {
  while (const struct dirent* entry = readdir(directory)) {
    int number = 0;
    if (absl::SimpleAtoi(entry->d_name, &number)) return number;
  }
  return std::nullopt;
}

// fdinfo lists the locks of one open file description, for example
// "lock:  1: OFDLCK  ADVISORY  WRITE -1 fe:00:1234 0 EOF".
bool ListsOfdLock(const std::string& fdinfo_path) {
  std::ifstream fdinfo(fdinfo_path);
  std::string line;
  while (std::getline(fdinfo, line)) {
    if (absl::StartsWith(line, "lock:") && absl::StrContains(line, "OFDLCK")) {
      return true;
    }
  }
  return false;
}

// What the kernel knows of the file. Any process may have files open of a mount
// whose daemon hangs, and must not be asked: that would hang, too.
bool IsFile(const std::string& path, const struct stat& wanted) {
  struct statx info = {};
  return statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
               STATX_INO, &info) == 0 &&
         info.stx_ino == wanted.st_ino &&
         makedev(info.stx_dev_major, info.stx_dev_minor) == wanted.st_dev;
}

bool HoldsLock(pid_t pid, const struct stat& wanted) {
  const std::string process = absl::StrCat("/proc/", pid);
  const Directory descriptors(opendir(absl::StrCat(process, "/fd").c_str()));
  if (descriptors == nullptr) return false;
  while (const std::optional<int> fd = NextNumber(descriptors.get())) {
    if (IsFile(absl::StrCat(process, "/fd/", *fd), wanted) &&
        ListsOfdLock(absl::StrCat(process, "/fdinfo/", *fd))) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::optional<pid_t> FindLockHolder(int descriptor) {
  struct stat wanted;
  if (fstat(descriptor, &wanted) != 0) return std::nullopt;
  const Directory processes(opendir("/proc"));
  if (processes == nullptr) return std::nullopt;
  while (const std::optional<pid_t> pid = NextNumber(processes.get())) {
    if (HoldsLock(*pid, wanted)) return pid;
  }
  return std::nullopt;
}

}  // namespace varve
