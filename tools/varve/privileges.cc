#include "tools/varve/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace varve::tools {
namespace {

// A set of capabilities, as bits.
constexpr uint64_t kNeeded =
    uint64_t{1} << CAP_CHOWN | uint64_t{1} << CAP_DAC_OVERRIDE |
    uint64_t{1} << CAP_DAC_READ_SEARCH | uint64_t{1} << CAP_FOWNER |
    uint64_t{1} << CAP_FSETID | uint64_t{1} << CAP_SYS_ADMIN |
    uint64_t{1} << CAP_SYS_RESOURCE;

absl::Status Failed(const char* call) {
  return SystemError(errno, absl::StrCat("cannot give up privileges: ", call));
}

}  // namespace

absl::Status KeepOnlyNeededPrivileges() {
  struct __user_cap_header_struct header = {
      .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct sets[2] = {};
  // glibc has no wrapper for these two.
  if (syscall(SYS_capget, &header, sets) != 0) return Failed("capget");
  if ((sets[0].permitted | sets[1].permitted) == 0) return absl::OkStatus();
  // The capabilities that started programs could get. Only fusermount3 is ever
  // started.
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0;
       ++capability) {
    const bool needed = (kNeeded >> capability & 1) != 0;
    // A process that may not change this set cannot gain by it either.
    if (!needed && prctl(PR_CAPBSET_DROP, capability) != 0 && errno != EPERM) {
      return Failed("prctl");
    }
  }
  for (int half = 0; half < 2; ++half) {
    const auto needed = static_cast<uint32_t>(kNeeded >> (32 * half));
    sets[half].permitted &= needed;
    sets[half].effective &= needed;
    sets[half].inheritable &= needed;
  }
  if (syscall(SYS_capset, &header, sets) != 0) return Failed("capset");
  return absl::OkStatus();
}

}  // namespace varve::tools
