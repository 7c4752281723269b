// RootPins: which segments of nodes are being read by somebody who walks a tree
// without a lock, so that nobody gives their blocks away.
//
// Thread-safe.

#ifndef VARVE_FS_LOG_ROOT_PINS_H_
#define VARVE_FS_LOG_ROOT_PINS_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace varve::fs {

class RootPins {
 public:
  // Keeps segments where they are as long as a copy of it lives.
  using Pin = std::shared_ptr<const std::vector<uint32_t>>;

  // To be called while these are segments of the newest tree.
  Pin Add(std::vector<uint32_t> segments) ABSL_LOCKS_EXCLUDED(mu_) {
    auto pin =
        std::make_shared<const std::vector<uint32_t>>(std::move(segments));
    absl::MutexLock lock(&mu_);
    std::erase_if(pins_, [](const auto& other) { return other.expired(); });
    pins_.push_back(pin);
    return pin;
  }

  // The numbers of all segments that are pinned; some may come twice.
  std::vector<uint32_t> All() const ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<uint32_t> all;
    absl::MutexLock lock(&mu_);
    for (const auto& weak : pins_) {
      const Pin pin = weak.lock();
      if (pin != nullptr) all.insert(all.end(), pin->begin(), pin->end());
    }
    return all;
  }

 private:
  mutable absl::Mutex mu_;
  std::vector<std::weak_ptr<const std::vector<uint32_t>>> pins_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_ROOT_PINS_H_
