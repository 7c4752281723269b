#include "fs/fuse/rings.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/types/span.h"
#include "engine/base/status.h"
#include "fs/fuse/serve_request.h"

namespace varve::fs {
namespace {

// How many requests of callers on one processor may wait for a disk before
// other callers there have to wait for them.
constexpr int kThreadsPerProcessor = 4;

int ThreadsPerProcessor(int asked_for) {
  if (asked_for <= 0) return kThreadsPerProcessor;
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, asked_for / std::max(1, processors));
}

}  // namespace

FuseRings::FuseRings(FuseContext& context, bool wanted, int threads,
                     std::function<void()> on_failure)
    : context_(context),
      wanted_(wanted),
      threads_(threads),
      on_failure_(std::move(on_failure)) {}

bool FuseRings::Prepare(bool is_offered, size_t max_payload) {
  if (!wanted_) return false;
  const absl::Status status = MakeLoop(is_offered, max_payload);
  if (!status.ok() && context_.log) context_.log(status, "io_uring");
  if (status.ok()) context_.control.set_over_io_uring();
  return status.ok();
}

absl::Status FuseRings::MakeLoop(bool is_offered, size_t max_payload) {
  if (!is_offered) {
    return absl::UnavailableError(
        "the kernel does not offer it for FUSE, so requests come through "
        "/dev/fuse; where Linux is 6.14 or later, write Y to "
        "/sys/module/fuse/parameters/enable_uring as root, and mount again");
  }
  VARVE_ASSIGN_OR_RETURN(
      loop_,
      UringLoop::Make({.fuse_fd = fuse_session_fd(context_.session),
                       .max_payload = max_payload,
                       .threads_per_processor = ThreadsPerProcessor(threads_),
                       .serve =
                           [this](absl::Span<char> request) {
                             struct fuse_buf buffer = {};
                             buffer.mem = request.data();
                             buffer.size =
                                 NoteRequest(request.data(), request.size());
                             ServeRequest(context_, buffer);
                           },
                       .on_failure =
                           [this](const absl::Status& status) {
                             if (context_.log) context_.log(status, "io_uring");
                             on_failure_();
                           }}));
  return absl::OkStatus();
}

}  // namespace varve::fs
