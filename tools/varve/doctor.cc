#include "tools/varve/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/descriptor.h"
#include "tools/varve/host.h"
#include "tools/varve/kernel_probe.h"

namespace varve::tools {
namespace {

constexpr char kInstallFuse[] = "apt-get install fuse3";

void ExamineDevice(Findings& findings) {
  constexpr char kCheck[] = "fuse-device";
  const Descriptor device(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (device.valid()) {
    findings.Ok(kCheck, "/dev/fuse can be opened");
    return;
  }
  if (errno == EACCES || errno == EPERM) {
    findings.Trouble(kCheck,
                     "/dev/fuse may not be opened, so nothing can be mounted",
                     "chmod 666 /dev/fuse (as root); for a container, pass it "
                     "in: docker run --device /dev/fuse --cap-add SYS_ADMIN");
    return;
  }
  findings.Trouble(kCheck, "there is no /dev/fuse, so nothing can be mounted",
                   "modprobe fuse (as root); for a container, pass it in: "
                   "docker run --device /dev/fuse --cap-add SYS_ADMIN");
}

// The path of a command; empty if it is not found.
std::string FindCommand(const std::string& name) {
  const char* const path = getenv("PATH");
  for (const absl::string_view directory :
       absl::StrSplit(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
    std::string file = JoinPath(directory, name);
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

void ExamineHelper(Findings& findings) {
  constexpr char kCheck[] = "fusermount3";
  const std::string file = FindCommand("fusermount3");
  struct stat stat;
  const bool is_root = geteuid() == 0;
  if (file.empty() || ::stat(file.c_str(), &stat) != 0) {
    const std::string text = "fusermount3 is missing; only root can mount";
    if (is_root) {
      findings.Note(kCheck, text, kInstallFuse);
    } else {
      findings.Trouble(kCheck, text, kInstallFuse);
    }
    return;
  }
  if (stat.st_uid == 0 && (stat.st_mode & S_ISUID) != 0) {
    findings.Ok(kCheck, "fusermount3 is there, and set-user-ID root");
    return;
  }
  const std::string text =
      "fusermount3 is not set-user-ID root; only root can mount";
  const std::string mend = "chmod u+s \"$(command -v fusermount3)\" (as root)";
  if (is_root) {
    findings.Note(kCheck, text, mend);
  } else {
    findings.Trouble(kCheck, text, mend);
  }
}

void ExamineConfiguration(Findings& findings) {
  constexpr char kCheck[] = "fuse.conf";
  const auto text = ReadHostFile("/etc/fuse.conf");
  bool allows = false;
  if (text.ok()) {
    for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
      allows |= absl::StripAsciiWhitespace(line) == "user_allow_other";
    }
  }
  if (allows) {
    findings.Ok(kCheck, "users may mount with -o allow_other");
  } else {
    findings.Note(
        kCheck,
        "only root may mount with -o allow_other; others see \"allow_other "
        "only allowed if 'user_allow_other' is set\"",
        "echo user_allow_other >>/etc/fuse.conf (as root)");
  }
}

void ExamineKernel(Findings& findings) {
  constexpr char kCheck[] = "kernel";
  const KernelOffer offer = ProbeKernel();
  std::string text = absl::StrCat("Linux ", offer.release);
  if (offer.fuse.has_value()) {
    absl::StrAppend(&text, ", FUSE ", offer.fuse->major, ".",
                    offer.fuse->minor);
  }
  if (offer.fuse.has_value() && offer.fuse->io_uring) {
    findings.Ok(kCheck, text + ", requests through io_uring");
    return;
  }
  // Mounts work without it.
  findings.Ok(kCheck, text + (offer.io_uring ? ", io_uring, but not for FUSE"
                                             : ", no io_uring"));
}

bool IsOfWord(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
         c == '-';
}

}  // namespace

void ExamineSystem(Findings& findings) {
  ExamineDevice(findings);
  ExamineHelper(findings);
  ExamineConfiguration(findings);
  ExamineKernel(findings);
}

std::string WithoutNames(std::string message,
                         const std::vector<std::string>& names,
                         const std::string& placeholder) {
  // The longest names first, as one may be a part of another.
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end(),
            [](const std::string& a, const std::string& b) {
              return a.size() > b.size();
            });
  for (const std::string& name : sorted) {
    for (size_t at = 0; !name.empty();) {
      at = message.find(name, at);
      if (at == std::string::npos) break;
      const size_t end = at + name.size();
      // Do not replace a name in the middle of another word.
      if ((at > 0 && IsOfWord(message[at - 1])) ||
          (end < message.size() && IsOfWord(message[end]))) {
        ++at;
        continue;
      }
      message.replace(at, name.size(), placeholder);
      at += placeholder.size();
    }
  }
  if (message.find_first_of("/\"") == std::string::npos) return message;
  return "the command itself gives the reason; the message names files";
}

}  // namespace varve::tools
