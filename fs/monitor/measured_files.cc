#include "fs/monitor/measured_files.h"

#include <chrono>
#include <utility>
#include <vector>

#include "engine/base/status.h"

namespace varve::fs {
namespace {

using Clock = std::chrono::steady_clock;

class MeasuredFile final : public File {
 public:
  MeasuredFile(std::unique_ptr<File> file, FileMeter& meter)
      : file_(std::move(file)), meter_(meter) {}

  absl::StatusOr<size_t> WriteAt(
      uint64_t offset, absl::Span<const struct iovec> pieces) override {
    const Clock::time_point begin = Clock::now();
    absl::StatusOr<size_t> written = file_->WriteAt(offset, pieces);
    meter_.appends.Add(Clock::now() - begin);
    if (written.ok()) {
      meter_.bytes_appended.fetch_add(*written, std::memory_order_relaxed);
    } else {
      meter_.failed_appends.fetch_add(1, std::memory_order_relaxed);
    }
    return written;
  }

  absl::Status Sync() override {
    const Clock::time_point begin = Clock::now();
    absl::Status status = file_->Sync();
    meter_.syncs.Add(Clock::now() - begin);
    if (!status.ok()) {
      meter_.failed_syncs.fetch_add(1, std::memory_order_relaxed);
    }
    return status;
  }

  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<std::byte> out) override {
    return file_->ReadAt(offset, out);
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

 private:
  const std::unique_ptr<File> file_;
  FileMeter& meter_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<File>> MeasuredFiles::Open(
    const std::string& path, OpenMode mode, uint32_t permissions) {
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                         files_.Open(path, mode, permissions));
  return std::make_unique<MeasuredFile>(std::move(file), meter_);
}

}  // namespace varve::fs
