// No store at all: appends as many bytes as the engine does, at the same
// offsets, with one system call, and reads through a map by an array of
// offsets.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "engine/entry/entry.h"
#include "tools/bench/key_value_store.h"

namespace varve::bench {
namespace {

[[noreturn]] void FailOf(absl::string_view call) {
  Fail(absl::StrCat("bare: ", call, ": ", std::strerror(errno)));
}

class Bare final : public KeyValueStore {
 public:
  ~Bare() override { Close(); }

  absl::string_view name() const override { return "bare"; }

  void Open(const std::string& path, uint64_t capacity) override {
    fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat info;
    if (fd_ < 0 || fstat(fd_, &info) != 0) FailOf("open");
    end_ = static_cast<uint64_t>(info.st_size);
    // The most that is added to an entry, each of which has at least 16 bytes.
    length_ = 8 * capacity + 4096;
    void* const map = mmap(nullptr, length_, PROT_READ, MAP_SHARED, fd_, 0);
    if (map == MAP_FAILED) FailOf("mmap");
    map_ = static_cast<const char*>(map);
    offsets_.clear();
    for (uint64_t at = 0; at < end_; at += Align64(value_size_ + kFoot)) {
      Remember(KeyAt(at), at);
    }
  }

  void Close() override {
    if (fd_ < 0) return;
    munmap(const_cast<char*>(map_), length_);
    close(fd_);
    fd_ = -1;
  }

  // Successive values differ only in their first eight bytes, so the rest is
  // assembled once: copying it is not part of the least cost of an append.
  void Put(const KeyValue& item) override {
    const uint64_t start = Align64(end_);
    const size_t pad = start - end_;
    char* const payload = buffer_.data() + kPayloadAlignment;
    if (item.value.size() != value_size_ || buffer_.empty()) {
      value_size_ = item.value.size();
      buffer_.assign(kPayloadAlignment + value_size_ + kFoot, '\0');
      return PutWhole(item);
    }
    std::memcpy(payload, item.value.data(), sizeof(uint64_t));
    PutFoot(item.key, payload + value_size_);
    Append({payload - pad, pad + value_size_ + kFoot});
    Remember(item.key, start);
  }

  void PutBatch(absl::Span<const KeyValue> items) override {
    value_size_ = items.front().value.size();
    const size_t stride = Align64(value_size_ + kFoot);
    const uint64_t start = Align64(end_);
    const size_t pad = start - end_;
    batch_.resize(pad + stride * items.size());
    size_t at = pad;
    for (const KeyValue& item : items) {
      std::memcpy(&batch_[at], item.value.data(), value_size_);
      PutFoot(item.key, &batch_[at + value_size_]);
      Remember(item.key, start + at - pad);
      at += stride;
    }
    Append({batch_.data(), at - stride + value_size_ + kFoot});
  }

  uint64_t Read(absl::Span<const Key> keys) override {
    uint64_t sum = 0;
    for (const Key& key : keys) {
      sum += Digest(map_ + offsets_[IndexOf(key)], value_size_);
    }
    return sum;
  }

  Totals Iterate() override {
    Totals totals;
    for (uint64_t at = 0; at < end_; at += Align64(value_size_ + kFoot)) {
      totals.Add(KeyAt(at).number(), Digest(map_ + at, value_size_));
    }
    return totals;
  }

 private:
  // The bytes behind a payload.
  static constexpr size_t kFoot = kMetadataSize;

  void PutWhole(const KeyValue& item) {
    std::memcpy(buffer_.data() + kPayloadAlignment, item.value.data(),
                value_size_);
    Put(item);
  }

  static void PutFoot(const Key& key, char* out) {
    std::memcpy(out, key.text().data(), key.text().size());
  }

  Key KeyAt(uint64_t offset) const {
    Key key;
    std::memcpy(&key, map_ + offset + value_size_, sizeof(key));
    return key;
  }

  void Append(absl::string_view bytes) {
    if (end_ + bytes.size() > length_) Fail("bare: more than was announced");
    const ssize_t count =
        pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(end_));
    if (count != static_cast<ssize_t>(bytes.size())) FailOf("pwrite");
    end_ += bytes.size();
  }

  // The place of the key's offset: its number, read as big-endian or as a
  // native counter. The right one of the two is small, and the other one is
  // large.
  static uint64_t IndexOf(const Key& key) {
    return std::min(key.number(), __builtin_bswap64(key.number()));
  }

  void Remember(const Key& key, uint64_t offset) {
    const uint64_t number = IndexOf(key);
    if (number >= offsets_.size()) {
      offsets_.resize(std::max<size_t>(number + 1, 2 * offsets_.size()));
    }
    offsets_[number] = offset;
  }

  int fd_ = -1;
  uint64_t end_ = 0;
  const char* map_ = nullptr;
  size_t length_ = 0;
  size_t value_size_ = 8;          // of every value in the file
  std::vector<uint64_t> offsets_;  // by the keys' numbers
  std::string buffer_;             // pad, payload, foot
  std::string batch_;
};

}  // namespace

std::unique_ptr<KeyValueStore> MakeBare() { return std::make_unique<Bare>(); }

}  // namespace varve::bench
