// The store that `varve compact` works on. If it is mounted, the calls go to
// its mount (fs/ioctl/varve_ioctl.h); otherwise the command opens the store
// itself.

#ifndef VARVE_TOOLS_VARVE_COMPACTION_TARGET_H_
#define VARVE_TOOLS_VARVE_COMPACTION_TARGET_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/compaction/compaction.h"
#include "fs/ioctl/varve_ioctl.h"

namespace varve::tools {

// Not thread-safe. Failures carry their errno but may have no message; those of
// FindCompactionTarget() are sentences for the user.
class CompactionTarget {
 public:
  virtual ~CompactionTarget() = default;

  // Starts a compaction. Returns true, and starts none, if one is already
  // running.
  virtual absl::StatusOr<bool> Start(const fs::CompactionOptions& options) = 0;
  virtual absl::StatusOr<varve_compaction_progress> GetProgress() = 0;
  virtual absl::Status Cancel() = 0;
  virtual absl::StatusOr<varve_statistics> GetStatistics() = 0;
  // Must be called at the end. Closes the store if it was opened.
  virtual absl::Status Close() = 0;

  // The path of the store.
  const std::string& store() const { return store_; }
  // Where it is mounted; empty if it is not.
  const std::string& mountpoint() const { return mountpoint_; }
  // The name for messages: the mountpoint if there is one, else the store.
  const std::string& name() const {
    return mountpoint_.empty() ? store_ : mountpoint_;
  }

 protected:
  CompactionTarget(std::string store, std::string mountpoint)
      : store_(std::move(store)), mountpoint_(std::move(mountpoint)) {}

 private:
  const std::string store_;
  const std::string mountpoint_;
};

enum class CompactionAccess {
  kLook,     // statistics only; an unmounted store is opened for reading
  kCompact,  // an unmounted store is opened for writing
};

// `path` names a store, which may be mounted, or a directory or file of a
// mount.
absl::StatusOr<std::unique_ptr<CompactionTarget>> FindCompactionTarget(
    const std::string& path, CompactionAccess access);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_COMPACTION_TARGET_H_
