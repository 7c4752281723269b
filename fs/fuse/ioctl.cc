#include "fs/fuse/ioctl.h"

#include <errno.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/string_view.h"
#include "fs/fuse/call.h"
#include "fs/ioctl/ioctl_structs.h"
#include "fs/ioctl/varve_ioctl.h"

namespace varve::fs {
namespace {

// What the kernel hands over for one call: it copies as many bytes in, and has
// room for as many out, as the call's number says. That is all that a mount may
// ask for ("restricted"); with less, which a caller cannot bring about, the
// answer is EINVAL. It makes no difference whether the caller is a 32-bit
// program: the structs are the same.
struct Buffers {
  absl::string_view in;
  size_t out_size;
};

bool MayCompact(const FuseRequest& request) {
  const uint32_t uid = request.caller().uid;
  return uid == 0 || uid == geteuid();
}

template <typename Struct>
void AnswerWith(FuseRequest& request, const Struct& out,
                const Buffers& buffers) {
  if (buffers.out_size < sizeof(out)) return request.Error(EINVAL);
  request.IoctlResult({reinterpret_cast<const char*>(&out), sizeof(out)});
}

void StartCompaction(Call& call, const Buffers& buffers) {
  if (!MayCompact(call.request)) return call.request.Error(EPERM);
  varve_compaction_start start;
  if (buffers.in.size() < sizeof(start) || buffers.out_size < sizeof(start)) {
    return call.request.Error(EINVAL);
  }
  std::memcpy(&start, buffers.in.data(), sizeof(start));
  const absl::StatusOr<CompactionOptions> options = FromIoctl(start);
  if (!options.ok()) return call.request.Done(options.status());
  const bool joined = call.volume.GetCompactionProgress().running();
  const absl::Status status = call.volume.StartCompaction(*options);
  if (!status.ok()) return call.request.Done(status);
  start.version = VARVE_IOCTL_VERSION;
  start.joined = joined ? 1 : 0;
  AnswerWith(call.request, start, buffers);
}

void Reclaim(Call& call) {
  if (!MayCompact(call.request)) return call.request.Error(EPERM);
  const absl::Status status = call.volume.StartCompaction({.punch = true});
  if (!status.ok()) return call.request.Done(status);
  call.request.IoctlResult({});
}

void Cancel(Call& call) {
  if (!MayCompact(call.request)) return call.request.Error(EPERM);
  call.volume.CancelCompaction();
  call.request.IoctlResult({});
}

void GetStatistics(Call& call, const Buffers& buffers) {
  const absl::StatusOr<StoreStatistics> statistics =
      call.volume.GetStatistics();
  if (!statistics.ok()) return call.request.Done(statistics.status());
  const absl::StatusOr<SpaceInfo> space = call.volume.GetSpace();
  if (!space.ok()) return call.request.Done(space.status());
  AnswerWith(call.request,
             ToIoctl(*statistics,
                     AvailableBytes(space->host_total, space->host_available)),
             buffers);
}

void Sync(Call& call) {
  const absl::Status status = call.volume.SyncAll();
  if (!status.ok()) return call.request.Done(status);
  call.request.IoctlResult({});
}

// Of files, directories, and what lies below .varve alike: neither inode nor
// handle matters, and a directory has no handle, as opendir is answered by
// ENOSYS.
void Ioctl(fuse_req_t req, fuse_ino_t, unsigned command, void*,
           struct fuse_file_info*, unsigned, const void* in, size_t in_size,
           size_t out_size) {
  Call call(req, "ioctl");
  const Buffers buffers = {
      .in = in == nullptr
                ? absl::string_view()
                : absl::string_view(static_cast<const char*>(in), in_size),
      .out_size = out_size};
  switch (command) {
    case VARVE_IOC_START_COMPACTION:
      return StartCompaction(call, buffers);
    case VARVE_IOC_GET_PROGRESS:
      return AnswerWith(call.request,
                        ToIoctl(call.volume.GetCompactionProgress()), buffers);
    case VARVE_IOC_CANCEL:
      return Cancel(call);
    case VARVE_IOC_GET_STATISTICS:
      return GetStatistics(call, buffers);
    case VARVE_IOC_SYNC:
      return Sync(call);
    case VARVE_IOC_RECLAIM:
      return Reclaim(call);
    default:
      return call.request.Error(ENOTTY);
  }
}

}  // namespace

void AddIoctlOperations(struct fuse_lowlevel_ops& operations) {
  operations.ioctl = Ioctl;
}

}  // namespace varve::fs
