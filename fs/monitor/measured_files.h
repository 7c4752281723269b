// MeasuredFiles: a layer on the seam to the host (engine/io/file.h) that counts
// and times appends and syncs. It passes all calls on to the file system below
// it.
//
// Thread-safe, as the file system below it is.

#ifndef VARVE_FS_MONITOR_MEASURED_FILES_H_
#define VARVE_FS_MONITOR_MEASURED_FILES_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/io/file.h"
#include "fs/monitor/latency_histogram.h"

namespace varve::fs {

struct FileMeter {
  LatencyHistogram appends;  // one for each write system call
  LatencyHistogram syncs;
  std::atomic<uint64_t> bytes_appended{0};
  std::atomic<uint64_t> failed_appends{0};
  std::atomic<uint64_t> failed_syncs{0};
};

class MeasuredFiles final : public FileSystem {
 public:
  // `files` and `meter` must outlive this object and all files that it opens.
  MeasuredFiles(FileSystem& files, FileMeter& meter)
      : files_(files), meter_(meter) {}

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path,
                                             OpenMode mode,
                                             uint32_t permissions) override;
  absl::StatusOr<FileInfo> Info(const std::string& path) override {
    return files_.Info(path);
  }
  absl::StatusOr<SpaceOnDisk> Space(const std::string& path) override {
    return files_.Space(path);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return files_.Rename(from, to);
  }
  absl::Status Link(const std::string& from, const std::string& to) override {
    return files_.Link(from, to);
  }
  absl::Status Remove(const std::string& path) override {
    return files_.Remove(path);
  }
  absl::Status SyncDirectoryOf(const std::string& path) override {
    return files_.SyncDirectoryOf(path);
  }

 private:
  FileSystem& files_;
  FileMeter& meter_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_MONITOR_MEASURED_FILES_H_
