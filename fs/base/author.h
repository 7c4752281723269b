// The user on whose behalf a thread works, so that the log can say who made a
// change, without each function on the way having to pass it on.
//
// Thread-safe: each thread has its own.

#ifndef VARVE_FS_BASE_AUTHOR_H_
#define VARVE_FS_BASE_AUTHOR_H_

#include <cstdint>
#include <optional>
#include <utility>

namespace varve::fs {

// As long as it lives, this thread works for the user. One may be made while
// another lives; then the older one counts again once the newer one is gone.
class ScopedAuthor {
 public:
  explicit ScopedAuthor(uint32_t uid)
      : before_(std::exchange(current_, std::optional(uid))) {}
  ~ScopedAuthor() { current_ = before_; }
  ScopedAuthor(const ScopedAuthor&) = delete;
  ScopedAuthor& operator=(const ScopedAuthor&) = delete;

  // Nothing if the thread works for nobody in particular.
  static std::optional<uint32_t> Current() { return current_; }

 private:
  static inline thread_local std::optional<uint32_t> current_;

  const std::optional<uint32_t> before_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_AUTHOR_H_
