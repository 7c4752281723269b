// Requests of the kernel's protocol that libfuse 3.14 does not pass on, in the
// kernel's own form, and their answers:
//
//  - FUSE_STATX (since Linux 6.6), which asks for the birth time, too;
//  - FUSE_TMPFILE (since Linux 6.1), which is open(2) with O_TMPFILE.
//
// Newer versions of libfuse know them. This code answers them all the same, so
// that a mount behaves alike with every version.

#ifndef VARVE_FS_FUSE_EXTENSIONS_H_
#define VARVE_FS_FUSE_EXTENSIONS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "fs/fuse/request.h"
#include "fs/volume/volume.h"

namespace varve::fs {

// From the kernel's fuse.h, version 7.39, which Debian 12 does not have.
inline constexpr uint32_t kOpcodeStatx = 52;

struct StatxIn {
  uint32_t getattr_flags;
  uint32_t reserved;
  uint64_t fh;
  uint32_t sx_flags;
  uint32_t sx_mask;
};
static_assert(sizeof(StatxIn) == 24);

class StatxRequest final : public RawRequest {
 public:
  using RawRequest::RawRequest;
  void Reply(const absl::StatusOr<Stat>& stat);
  // The kernel must not cache the answer.
  void ReplyUncached(const absl::StatusOr<Stat>& stat);

 private:
  void ReplyFor(const absl::StatusOr<Stat>& stat, uint64_t seconds);
};

class TmpfileRequest final : public RawRequest {
 public:
  using RawRequest::RawRequest;
  // `fh` is the kernel's number for the open file.
  void Reply(const Stat& stat, uint64_t fh);
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_EXTENSIONS_H_
