// FuzzScript: a fuzzer's input, taken as a script, from its start on.

#ifndef VARVE_FS_BTREE_FUZZ_SCRIPT_H_
#define VARVE_FS_BTREE_FUZZ_SCRIPT_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace varve::fs {

// 0 and empty strings once it is used up. The input must outlive it.
class FuzzScript {
 public:
  FuzzScript(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool at_end() const { return size_ == 0; }
  uint8_t Byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  // So many bytes, or as many as there are.
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
