// ForwardingFile: a file that forwards every call to another one. It is a base
// for classes that change some of the calls: they override those.

#ifndef VARVE_ENGINE_IO_FORWARDING_FILE_H_
#define VARVE_ENGINE_IO_FORWARDING_FILE_H_

#include <memory>
#include <utility>
#include <vector>

#include "engine/io/file.h"

namespace varve {

class ForwardingFile : public File {
 public:
  explicit ForwardingFile(std::unique_ptr<File> file)
      : file_(std::move(file)) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<std::byte> out) override {
    return file_->ReadAt(offset, out);
  }
  absl::StatusOr<size_t> WriteAt(
      uint64_t offset, absl::Span<const struct iovec> pieces) override {
    return file_->WriteAt(offset, pieces);
  }
  absl::Status Sync() override { return file_->Sync(); }
  absl::Status BeginWriteOut(uint64_t offset, uint64_t length) override {
    return file_->BeginWriteOut(offset, length);
  }
  absl::Status Truncate(uint64_t size) override {
    return file_->Truncate(size);
  }
  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    return file_->PunchHole(offset, length);
  }
  absl::Status Preallocate(uint64_t offset, uint64_t length) override {
    return file_->Preallocate(offset, length);
  }
  absl::StatusOr<FileInfo> Info() override { return file_->Info(); }
  absl::StatusOr<uint64_t> Size() override { return file_->Size(); }
  absl::Status SetOwner(uint32_t owner, uint32_t group) override {
    return file_->SetOwner(owner, group);
  }
  absl::StatusOr<std::vector<FileXattr>> Xattrs() override {
    return file_->Xattrs();
  }
  absl::Status SetXattr(const FileXattr& xattr) override {
    return file_->SetXattr(xattr);
  }
  absl::StatusOr<std::unique_ptr<Mapping>> Map(uint64_t length) override {
    return file_->Map(length);
  }
  absl::Status LockExclusive(absl::Duration patience) override {
    return file_->LockExclusive(patience);
  }
  absl::Status LockForReading() override { return file_->LockForReading(); }
  absl::StatusOr<bool> TryLockOutReaders() override {
    return file_->TryLockOutReaders();
  }
  void LetReadersIn() override { file_->LetReadersIn(); }

 protected:
  File& file() { return *file_; }

 private:
  const std::unique_ptr<File> file_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_IO_FORWARDING_FILE_H_
