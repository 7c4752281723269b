// CheckedOffset: an offset that has been compared with the size of its file.
//
// Numbers in a store come from the program that wrote it. One that is used as
// an offset is checked where it enters; what reads at an offset takes the
// checked one, so that one which was not checked cannot be used.

#ifndef VARVE_ENGINE_ENTRY_CHECKED_OFFSET_H_
#define VARVE_ENGINE_ENTRY_CHECKED_OFFSET_H_

#include <cstdint>
#include <optional>

namespace varve {

// No file is larger, so that adding the sizes of a few fields to an offset
// cannot wrap.
inline constexpr uint64_t kMaxFileOffset = INT64_MAX;

// Immutable; as cheap as a number.
class CheckedOffset {
 public:
  // `number` if it lies in a file of `size` bytes or is its end; else nothing.
  static constexpr std::optional<CheckedOffset> In(uint64_t size,
                                                   uint64_t number) {
    if (number > size || number > kMaxFileOffset) return std::nullopt;
    return CheckedOffset(number);
  }

  constexpr uint64_t value() const { return value_; }

  friend constexpr bool operator==(CheckedOffset, CheckedOffset) = default;

  // The offset `distance` bytes further to the front; nothing where the file
  // has begun before.
  constexpr std::optional<CheckedOffset> Before(uint64_t distance) const {
    if (distance > value_) return std::nullopt;
    return CheckedOffset(value_ - distance);
  }

 private:
  explicit constexpr CheckedOffset(uint64_t value) : value_(value) {}

  uint64_t value_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_ENTRY_CHECKED_OFFSET_H_
