// FileWatch: reports if another program truncates, moves or deletes the file of
// a mounted store.
//
// Locate() is thread-safe. Only one thread at a time may call the others.

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
  // Both must outlive this object. `core.store` must be set before any function
  // is called.
  FileWatch(Core& core, const Incidents& incidents)
      : core_(core), incidents_(incidents) {}

  // Where the store's file is now.
  absl::StatusOr<FileLocation> Locate()
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Reports what has happened since the last call. Reports each event once.
  void Look() ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Called when the volume is closed: reports if the store's file is deleted,
  // so that its contents are lost.
  void ReportIfDeleted() ABSL_LOCKS_EXCLUDED(core_.relocation_mu);

 private:
  Core& core_;
  const Incidents& incidents_;
  // What was reported last.
  FileLocation reported_place_ = FileLocation::kInPlace;
  bool reported_cut_ = false;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_FILE_WATCH_H_
