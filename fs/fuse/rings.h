// FuseRings: whether a FuseServer gets its requests through io_uring, and how.

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
  // `wanted` and `threads` as in FuseOptions. `on_failure` is told when
  // requests can no longer be served, from any thread. `context` must outlive
  // this.
  FuseRings(FuseContext& context, bool wanted, int threads,
            std::function<void()> on_failure);

  bool Prepare(bool is_offered, size_t max_payload) override;
  void Start() override { loop_->Start(); }
  // Requests in progress are answered, and no others.
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
