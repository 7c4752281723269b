// Descriptor: an owned file descriptor.
//
// Not thread-safe.

#ifndef VARVE_ENGINE_BASE_DESCRIPTOR_H_
#define VARVE_ENGINE_BASE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace varve {

class Descriptor {
 public:
  // Owns nothing.
  Descriptor() = default;
  // Takes ownership of `fd`. A negative number, which open() returns when it
  // fails, means no descriptor.
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~Descriptor() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

  // Hands the descriptor over to the caller, which must close it.
  int Release() { return std::exchange(fd_, -1); }
  // Closes the descriptor that it owns, if any, and takes `fd`. An error from
  // close() is dropped: a caller that needs durability syncs first, or calls
  // Release() and closes the descriptor itself.
  void Reset(int fd = -1) {
    const int old = std::exchange(fd_, fd);
    if (old >= 0) close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_DESCRIPTOR_H_
