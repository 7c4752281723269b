// FuzzScript: reads a fuzzer's input as a script, from its start. Not
// thread-safe.

#ifndef VARVE_FS_BTREE_FUZZ_SCRIPT_H_
#define VARVE_FS_BTREE_FUZZ_SCRIPT_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace varve::fs {

// Gives 0 and empty strings once the input is used up. The input must outlive
// the script.
class FuzzScript {
 public:
  FuzzScript(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool at_end() const { return size_ == 0; }
  uint8_t Byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  // The next `size` bytes, or as many as are left.
  std::string Bytes(size_t size) {
    std::string bytes;
    while (bytes.size() < size && size_ > 0) {
      bytes.push_back(static_cast<char>(Byte()));
    }
    return bytes;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_FUZZ_SCRIPT_H_
