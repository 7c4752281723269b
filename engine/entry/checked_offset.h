// CheckedOffset: an offset that has been compared with the size of its file.
//
// The numbers in a store come from the program that wrote it and may be
// anything. Code that finds an offset in a store checks it once, there.
// Functions that read at an offset take a CheckedOffset, so that an unchecked
// number does not compile.

#ifndef VARVE_ENGINE_ENTRY_CHECKED_OFFSET_H_
#define VARVE_ENGINE_ENTRY_CHECKED_OFFSET_H_

#include <cstdint>
#include <optional>

namespace varve {

// No file is larger than this. So adding the sizes of a few fields to an offset
// cannot wrap.
inline constexpr uint64_t kMaxFileOffset = INT64_MAX;

// Immutable; as cheap as a number.
class CheckedOffset {
 public:
  // `number` as an offset if it is at most `size`, the size of the file;
  // otherwise nothing.
  static constexpr std::optional<CheckedOffset> In(uint64_t size,
                                                   uint64_t number) {
    if (number > size || number > kMaxFileOffset) return std::nullopt;
    return CheckedOffset(number);
  }

  constexpr uint64_t value() const { return value_; }

  friend constexpr bool operator==(CheckedOffset, CheckedOffset) = default;

  // The offset `distance` bytes nearer to the start of the file; nothing if
  // that lies before the start.
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
