// Descriptor: an owned file descriptor.
//
// A value of one thread at a time.

#ifndef VARVE_ENGINE_BASE_DESCRIPTOR_H_
#define VARVE_ENGINE_BASE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace varve {

class Descriptor {
 public:
  // Owns nothing.
  Descriptor() = default;
  // Takes `fd`; a negative number is nothing, as open() has it when it fails.
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~Descriptor() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

  // Hands the descriptor over to the caller, who has to close it.
  int Release() { return std::exchange(fd_, -1); }
  // Closes what it owns, if anything, and takes `fd`. An error of closing is
  // dropped: what has to be durable is synced, or Release()d and closed.
  void Reset(int fd = -1) {
    const int old = std::exchange(fd_, fd);
    if (old >= 0) close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_DESCRIPTOR_H_
