// Timestamp: a point in time with nanoseconds in one 64-bit word, over the
// range that ext4 has (1901 to 2446): 34 bits of seconds counted from -2^31,
// then 30 bits of nanoseconds. Values order as times do.

#ifndef VARVE_FS_FORMAT_TIMESTAMP_H_
#define VARVE_FS_FORMAT_TIMESTAMP_H_

#include <time.h>

#include <algorithm>
#include <cstdint>

namespace varve::fs {

class Timestamp {
 public:
  static constexpr int64_t kMinSeconds = -(int64_t{1} << 31);
  static constexpr int64_t kMaxSeconds = kMinSeconds + (int64_t{1} << 34) - 1;

  constexpr Timestamp() = default;

  // A time outside the range becomes the nearest one inside.
  static Timestamp From(const struct timespec& time) {
    int64_t seconds = time.tv_sec;
    int64_t nanoseconds = std::clamp<int64_t>(time.tv_nsec, 0, 999'999'999);
    // At the limits the fraction is dropped, as the kernel does it.
    if (seconds <= kMinSeconds || seconds >= kMaxSeconds) {
      seconds = std::clamp(seconds, kMinSeconds, kMaxSeconds);
      nanoseconds = 0;
    }
    return FromPacked((static_cast<uint64_t>(seconds - kMinSeconds) << 30) |
                      static_cast<uint64_t>(nanoseconds));
  }
  static Timestamp Now() {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return From(now);
  }
  static constexpr Timestamp FromPacked(uint64_t packed) {
    Timestamp result;
    result.packed_ = packed;
    return result;
  }

  constexpr uint64_t packed() const { return packed_; }
  struct timespec ToTimespec() const {
    struct timespec result;
    result.tv_sec =
        static_cast<time_t>(static_cast<int64_t>(packed_ >> 30) + kMinSeconds);
    // A packed value from a hostile store may hold 10^9 and more.
    result.tv_nsec = std::min<int64_t>(packed_ & ((1u << 30) - 1), 999'999'999);
    return result;
  }

  friend constexpr auto operator<=>(Timestamp, Timestamp) = default;

 private:
  uint64_t packed_ = uint64_t{1} << 61;  // 1970-01-01
};

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_TIMESTAMP_H_
