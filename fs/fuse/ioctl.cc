#include "fs/fuse/ioctl.h"

#include <errno.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "absl/strings/string_view.h"
#include "fs/base/error.h"
#include "fs/fuse/ioctl_history.h"
#include "fs/ioctl/ioctl_structs.h"
#include "fs/ioctl/varve_ioctl.h"

namespace varve::fs {
namespace {

// The data of one call. The kernel copies in as many bytes, and has room for as
// many bytes out, as the number of the call says; a mount cannot ask for more
// ("restricted" ioctls). If there is less, which no caller can cause, the
// answer is EINVAL. The structs are the same for 32-bit programs.
struct Buffers {
  absl::string_view in;
  size_t out_size;
};

bool MayCompact(const IoctlRequest& request) {
  const uint32_t uid = request.caller().uid;
  return uid == 0 || uid == geteuid();
}

template <typename Struct>
void AnswerWith(IoctlRequest& request, const Struct& out,
                const Buffers& buffers) {
  if (buffers.out_size < sizeof(out)) return request.Fail(PosixError(EINVAL));
  request.Reply({reinterpret_cast<const char*>(&out), sizeof(out)});
}

void StartCompaction(FuseContext& context, IoctlRequest& request,
                     const Buffers& buffers) {
  if (!MayCompact(request)) return request.Fail(PosixError(EPERM));
  varve_compaction_start start;
  if (buffers.in.size() < sizeof(start) || buffers.out_size < sizeof(start)) {
    return request.Fail(PosixError(EINVAL));
  }
  std::memcpy(&start, buffers.in.data(), sizeof(start));
  const absl::StatusOr<CompactionOptions> options = FromIoctl(start);
  if (!options.ok()) return request.Fail(options.status());
  const bool joined = context.volume.compactions().progress().running();
  const absl::Status status = context.volume.compactions().Start(*options);
  if (!status.ok()) return request.Fail(status);
  start.version = VARVE_IOCTL_VERSION;
  start.joined = joined ? 1 : 0;
  AnswerWith(request, start, buffers);
}

void Reclaim(FuseContext& context, IoctlRequest& request) {
  if (!MayCompact(request)) return request.Fail(PosixError(EPERM));
  const absl::Status status =
      context.volume.compactions().Start({.punch = true});
  if (!status.ok()) return request.Fail(status);
  request.Reply({});
}

void Cancel(FuseContext& context, IoctlRequest& request) {
  if (!MayCompact(request)) return request.Fail(PosixError(EPERM));
  context.volume.compactions().Cancel();
  request.Reply({});
}

void GetStatistics(FuseContext& context, IoctlRequest& request,
                   const Buffers& buffers) {
  const absl::StatusOr<StoreStatistics> statistics =
      context.volume.GetStatistics();
  if (!statistics.ok()) return request.Fail(statistics.status());
  const absl::StatusOr<SpaceInfo> space = context.volume.GetSpace();
  if (!space.ok()) return request.Fail(space.status());
  AnswerWith(request,
             ToIoctl(*statistics,
                     AvailableBytes(space->host_total, space->host_available)),
             buffers);
}

void ChangeHistory(FuseContext& context, IoctlRequest& request,
                   const Buffers& buffers) {
  if (!MayCompact(request)) return request.Fail(PosixError(EPERM));
  // Too large for the stack of a thread that serves requests.
  const auto call = std::make_unique<varve_history>();
  if (buffers.in.size() < sizeof(*call)) {
    return request.Fail(PosixError(EINVAL));
  }
  std::memcpy(call.get(), buffers.in.data(), sizeof(*call));
  const absl::Status status = CallHistory(context.volume, *call);
  if (!status.ok()) return request.Fail(status);
  if (context.forget_listing) {
    context.forget_listing(HistoryDirectory::kSnapshots);
  }
  if (call->operation == VARVE_HISTORY_PURGE) {
    context.control.history().ForgetTrees();
  }
  AnswerWith(request, *call, buffers);
}

void Sync(FuseContext& context, IoctlRequest& request) {
  const absl::Status status = context.volume.SyncAll();
  if (!status.ok()) return request.Fail(status);
  request.Reply({});
}

}  // namespace

void Ioctl(FuseContext& context, IoctlRequest& request, fuse_ino_t,
           unsigned command, void*, struct fuse_file_info*, unsigned,
           const void* in, size_t in_size, size_t out_size) {
  const Buffers buffers = {
      .in = in == nullptr
                ? absl::string_view()
                : absl::string_view(static_cast<const char*>(in), in_size),
      .out_size = out_size};
  switch (command) {
    case VARVE_IOC_START_COMPACTION:
      return StartCompaction(context, request, buffers);
    case VARVE_IOC_GET_PROGRESS:
      return AnswerWith(
          request, ToIoctl(context.volume.compactions().progress()), buffers);
    case VARVE_IOC_CANCEL:
      return Cancel(context, request);
    case VARVE_IOC_GET_STATISTICS:
      return GetStatistics(context, request, buffers);
    case VARVE_IOC_SYNC:
      return Sync(context, request);
    case VARVE_IOC_HISTORY:
      return ChangeHistory(context, request, buffers);
    case VARVE_IOC_RECLAIM:
      return Reclaim(context, request);
    default:
      return request.Fail(PosixError(ENOTTY));
  }
}

}  // namespace varve::fs
