// FuseRings: decides whether a FuseServer gets its requests through io_uring,
// and runs the loop that receives them. Not thread-safe.

#ifndef VARVE_FS_FUSE_RINGS_H_
#define VARVE_FS_FUSE_RINGS_H_

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "fs/fuse/channel.h"
#include "fs/fuse/context.h"
#include "fs/fuse/server.h"
#include "fs/transport/uring_loop.h"

namespace varve::fs {

class FuseRings final : public RingTransport {
 public:
  // `wanted` and `threads` are as in FuseOptions. `on_failure` is called, from
  // any thread, when requests can no longer be served. `context` must outlive
  // this.
  FuseRings(FuseContext& context, bool wanted, int threads,
            std::function<void()> on_failure);

  bool Prepare(bool is_offered, size_t max_payload) override;
  void Start() override { loop_->Start(); }
  // Answers the requests in progress and then stops serving.
  void End() { loop_.reset(); }

 private:
  absl::Status MakeLoop(bool is_offered, size_t max_payload);

  FuseContext& context_;
  const bool wanted_;
  const int threads_;
  const std::function<void()> on_failure_;
  std::unique_ptr<UringLoop> loop_;  // once prepared
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_RINGS_H_
