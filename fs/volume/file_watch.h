// FileWatch: reports what others do to the file of a mounted store: that they
// cut it short, move it or delete it.
//
// Locate() is thread-safe; the others are for one thread at a time.

#ifndef VARVE_FS_VOLUME_FILE_WATCH_H_
#define VARVE_FS_VOLUME_FILE_WATCH_H_

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/base/incidents.h"
#include "fs/log/core.h"

namespace varve::fs {

class FileWatch {
 public:
  // Both must outlive this; `core.store` is set before anything is called.
  FileWatch(Core& core, const Incidents& incidents)
      : core_(core), incidents_(incidents) {}

  // Where the store's file is now.
  absl::StatusOr<FileLocation> Locate()
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Reports what has happened since it was called last, once each.
  void Look() ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // At the end: whether all that was written is in a deleted file.
  void ReportIfDeleted() ABSL_LOCKS_EXCLUDED(core_.relocation_mu);

 private:
  Core& core_;
  const Incidents& incidents_;
  // What has been reported.
  FileLocation reported_place_ = FileLocation::kInPlace;
  bool reported_cut_ = false;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_FILE_WATCH_H_
