// FaultFileSystem: a FileSystem whose calls can be made to fail, to do only a
// part of their work, or to be recorded.
//
// The recording holds every write with its bytes and every sync in order, so
// that a test can build the file that a power cut would have left behind.
//
// Thread-safe.

#ifndef VARVE_ENGINE_IO_FAULT_FILE_H_
#define VARVE_ENGINE_IO_FAULT_FILE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "engine/io/file.h"

namespace varve {

// The calls of the seam, as bits of a FileOps.
enum FileOp : uint32_t {
  kOpOpen = 1 << 0,
  kOpPathInfo = 1 << 1,
  kOpRename = 1 << 2,
  kOpRemove = 1 << 3,
  kOpSyncDirectory = 1 << 4,
  kOpRead = 1 << 5,
  kOpWrite = 1 << 6,
  kOpSync = 1 << 7,
  kOpTruncate = 1 << 8,
  kOpPunchHole = 1 << 9,
  kOpInfo = 1 << 10,
  kOpSetOwner = 1 << 11,
  kOpMap = 1 << 12,
  kOpLock = 1 << 13,
  kOpXattr = 1 << 14,
  kOpSpace = 1 << 15,
  kOpReaderLock = 1 << 16,  // taken by readers, or against them
  kOpPreallocate = 1 << 17,
  kOpWriteOut = 1 << 18,
  kAllOps = (1 << 19) - 1,
};
using FileOps = uint32_t;

// One call that succeeded, perhaps in part.
struct FileEvent {
  FileOp op = kOpOpen;
  std::string path;    // with which the file was opened, or the first argument
  std::string target;  // of a rename
  uint64_t offset = 0;
  // Bytes written, written out, punched or preallocated; the new size.
  uint64_t length = 0;
  std::string bytes;  // written, if asked for
};

class FaultFileSystem : public FileSystem {
 public:
  struct Fault {
    FileOps ops = kAllOps;
    // The first call that is hit: 1 is the next call that `ops` includes.
    int nth = 1;
    int times = 1;  // how many calls are hit, from there on
    // If 0, a read or write is shortened instead of failing.
    int error_number = 0;
    // How many bytes at most a read or write transfers before it fails.
    size_t partial_bytes = 0;
    // Called when a call is hit, before anything is done. May be empty.
    std::function<void()> before;
  };

  // `base` is not owned.
  explicit FaultFileSystem(FileSystem* base = RealFileSystem());
  ~FaultFileSystem() override;

  // Replaces the fault that was set before and starts counting anew.
  void Inject(Fault fault) ABSL_LOCKS_EXCLUDED(mutex_);
  void Heal() ABSL_LOCKS_EXCLUDED(mutex_);
  // The number of calls hit since Inject().
  int hits() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The number of calls of these kinds since the beginning.
  int Count(FileOps ops) const ABSL_LOCKS_EXCLUDED(mutex_);

  // The number of bytes that reads were asked for since the beginning.
  uint64_t bytes_asked() const { return bytes_asked_.load(); }

  // Makes mappings larger than `length` fail with ENOMEM.
  void set_max_mapping(uint64_t length) ABSL_LOCKS_EXCLUDED(mutex_);

  // Lets mappings tell what the host has in memory. Without it they do not, so
  // that code that could do without the disk reads it all the same, and such a
  // read can fail.
  void SeeMemory() { sees_memory_.store(true); }

  // Makes syncs do nothing and take no time, for files that the test will throw
  // away.
  void SkipSyncs() { skips_syncs_.store(true); }

  // Starts keeping the events, with the bytes of writes.
  void StartRecording() ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<FileEvent> events() const ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path,
                                             OpenMode mode,
                                             uint32_t permissions) override;
  absl::StatusOr<FileInfo> Info(const std::string& path) override;
  absl::StatusOr<SpaceOnDisk> Space(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  // Counts as kOpRename.
  absl::Status Link(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status SyncDirectoryOf(const std::string& path) override;

 private:
  friend class FaultFile;
  friend class FaultMapping;

  // What to do instead of a call.
  struct Verdict {
    int error_number = 0;
    std::optional<size_t> limit;  // bytes to write or read all the same
  };
  // Counts a call. Returns nothing if the call is to go ahead.
  std::optional<Verdict> Judge(FileOp op) ABSL_LOCKS_EXCLUDED(mutex_);
  // Like Judge(), for calls that cannot be done in part.
  absl::Status Check(FileOp op, const std::string& path)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool MappingIsTooLarge(uint64_t length) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Records the event if `status` is OK; returns `status`.
  absl::Status Record(absl::Status status, FileEvent event)
      ABSL_LOCKS_EXCLUDED(mutex_);

  FileSystem* const base_;
  std::atomic<bool> skips_syncs_{false};
  std::atomic<bool> sees_memory_{false};
  std::atomic<uint64_t> bytes_asked_{0};
  mutable absl::Mutex mutex_;
  std::optional<Fault> fault_ ABSL_GUARDED_BY(mutex_);
  int matched_ ABSL_GUARDED_BY(mutex_) = 0;  // calls of the fault's kinds
  int hits_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<FileOp> calls_ ABSL_GUARDED_BY(mutex_);
  uint64_t max_mapping_ ABSL_GUARDED_BY(mutex_) = ~uint64_t{0};
  bool recording_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<FileEvent> events_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve

#endif  // VARVE_ENGINE_IO_FAULT_FILE_H_
