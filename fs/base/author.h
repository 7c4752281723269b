// The user on whose behalf a thread works, and the process, so that the log can
// say who made a change without each function on the way having to pass it on.
//
// Thread-safe: each thread has its own.

#ifndef VARVE_FS_BASE_AUTHOR_H_
#define VARVE_FS_BASE_AUTHOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace varve::fs {

struct Author {
  uint32_t uid = 0;
  uint32_t pid = 0;  // 0: not to be noted
};

// The name of the command that the process runs, as Linux has it (up to 15
// bytes); empty if the process is gone.
std::string NameOfProcess(uint32_t pid);

// As long as it lives, this thread works for the author. One may be made while
// another lives; then the older one counts again once the newer one is gone.
class ScopedAuthor {
 public:
  explicit ScopedAuthor(Author author)
      : before_(std::exchange(current_, std::optional(author))) {}
  ~ScopedAuthor() { current_ = before_; }
  ScopedAuthor(const ScopedAuthor&) = delete;
  ScopedAuthor& operator=(const ScopedAuthor&) = delete;

  // Nothing if the thread works for nobody in particular.
  static std::optional<Author> Current() { return current_; }

 private:
  static inline thread_local std::optional<Author> current_;

  const std::optional<Author> before_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BASE_AUTHOR_H_
