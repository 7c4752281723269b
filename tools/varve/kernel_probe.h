// Finds out which of the features that Varve uses the running kernel offers.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_KERNEL_PROBE_H_
#define VARVE_TOOLS_VARVE_KERNEL_PROBE_H_

#include <cstdint>
#include <optional>
#include <string>

namespace varve::tools {

// The kernel's answer when a FUSE file system is mounted.
struct FuseOffer {
  uint32_t major = 0;
  uint32_t minor = 0;
  bool io_uring = false;  // offered and switched on
};

struct KernelOffer {
  std::string release;            // as of uname(2)
  bool fuse_device = false;       // this process can open /dev/fuse
  std::optional<FuseOffer> fuse;  // nothing if it could not be asked
  bool io_uring = false;          // io_uring_setup(2) works here
};

// Mounts a file system for a moment, in the namespace of a child process, where
// nobody sees it. Takes a second at most.
KernelOffer ProbeKernel();

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_KERNEL_PROBE_H_
