#include "fs/monitor/measured_files.h"

#include <chrono>
#include <utility>

#include "engine/base/status.h"
#include "engine/io/forwarding_file.h"

namespace varve::fs {
namespace {

using Clock = std::chrono::steady_clock;

class MeasuredFile final : public ForwardingFile {
 public:
  MeasuredFile(std::unique_ptr<File> file, FileMeter& meter)
      : ForwardingFile(std::move(file)), meter_(meter) {}

  absl::StatusOr<size_t> WriteAt(
      uint64_t offset, absl::Span<const struct iovec> pieces) override {
    const Clock::time_point begin = Clock::now();
    absl::StatusOr<size_t> written = file().WriteAt(offset, pieces);
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
    absl::Status status = file().Sync();
    meter_.syncs.Add(Clock::now() - begin);
    if (!status.ok()) {
      meter_.failed_syncs.fetch_add(1, std::memory_order_relaxed);
    }
    return status;
  }

 private:
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
