// Reads and writes the primitive fields of records of fs/: little-endian
// integers of fixed width, LEB128 varints, and byte strings. Readers check
// every bound, and after the first bad field they fail for good. Not
// thread-safe.

#ifndef VARVE_FS_FORMAT_WIRE_H_
#define VARVE_FS_FORMAT_WIRE_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"

namespace varve::fs {

static_assert(std::endian::native == std::endian::little,
              "fields are copied as they lie in memory");

class WireWriter {
 public:
  explicit WireWriter(std::string* out) : out_(out) {}

  size_t size() const { return out_->size(); }
  void U8(uint8_t value) { out_->push_back(static_cast<char>(value)); }
  void U16(uint16_t value) { Raw(&value, sizeof(value)); }
  void U32(uint32_t value) { Raw(&value, sizeof(value)); }
  void U64(uint64_t value) { Raw(&value, sizeof(value)); }
  void Varint(uint64_t value) {
    while (value >= 0x80) {
      U8(static_cast<uint8_t>(value | 0x80));
      value >>= 7;
    }
    U8(static_cast<uint8_t>(value));
  }
  void Bytes(absl::string_view bytes) { Raw(bytes.data(), bytes.size()); }
  void SizedBytes(absl::string_view bytes) {
    Varint(bytes.size());
    Bytes(bytes);
  }

 private:
  void Raw(const void* data, size_t size) {
    out_->append(static_cast<const char*>(data), size);
  }
  std::string* out_;
};

// After the first failed read, ok() is false and every read returns 0 or an
// empty string.
class WireReader {
 public:
  explicit WireReader(absl::string_view in) : in_(in) {}

  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }
  absl::string_view rest() const { return in_; }

  uint8_t U8() { return Fixed<uint8_t>(); }
  uint16_t U16() { return Fixed<uint16_t>(); }
  uint32_t U32() { return Fixed<uint32_t>(); }
  uint64_t U64() { return Fixed<uint64_t>(); }
  uint64_t Varint() {
    // Most have one byte.
    if (!in_.empty() && static_cast<uint8_t>(in_[0]) < 0x80) {
      const auto value = static_cast<uint8_t>(in_[0]);
      in_.remove_prefix(1);
      return value;
    }
    uint64_t value = 0;
    int shift = 0;
    for (size_t i = 0; i < in_.size() && shift < 64; ++i, shift += 7) {
      const auto byte = static_cast<uint8_t>(in_[i]);
      // The tenth byte has room for one bit only.
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) {
        in_.remove_prefix(i + 1);
        return value;
      }
    }
    Fail();
    return 0;
  }
  uint32_t Varint32() {
    const uint64_t value = Varint();
    if (value > UINT32_MAX) {
      Fail();
      return 0;
    }
    return static_cast<uint32_t>(value);
  }
  absl::string_view Bytes(uint64_t size) {
    if (size > in_.size()) {
      Fail();
      return {};
    }
    const absl::string_view result = in_.substr(0, size);
    in_.remove_prefix(size);
    return result;
  }
  absl::string_view SizedBytes() { return Bytes(Varint()); }
  void Fail() {
    ok_ = false;
    in_ = {};
  }

 private:
  template <typename T>
  T Fixed() {
    T value = 0;
    if (in_.size() < sizeof(T)) {
      Fail();
      return 0;
    }
    std::memcpy(&value, in_.data(), sizeof(T));
    in_.remove_prefix(sizeof(T));
    return value;
  }

  absl::string_view in_;
  bool ok_ = true;
};

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_WIRE_H_
