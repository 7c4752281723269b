#include "fs/volume/file_watch.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace varve::fs {

absl::StatusOr<FileLocation> FileWatch::Locate() {
  // While a compaction exchanges the file, there is no answer.
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  return core_.store->LocateFile();
}

void FileWatch::Look() {
  const absl::Status length = core_.store->CheckLength(core_.store->tail());
  if (absl::IsDataLoss(length) && !reported_cut_) {
    reported_cut_ = true;
    incidents_.Report(
        Annotate(length, "the store serves only reads from now on"));
  }
  const absl::StatusOr<FileLocation> place = Locate();
  // If the place is unknown, there is nothing to report.
  if (!place.ok() || *place == reported_place_) return;
  reported_place_ = *place;
  if (*place == FileLocation::kInPlace) return;
  incidents_.Report(absl::FailedPreconditionError(absl::StrCat(
      core_.store->file_path(),
      *place == FileLocation::kMoved
          ? " is not the mounted store any more; it was moved or replaced. The "
            "mount goes on with the file that it has open"
          : " was deleted while mounted. The mount goes on, but everything "
            "in it will be lost when it is unmounted: copy its files to "
            "another place before that")));
}

void FileWatch::ReportIfDeleted() {
  const absl::StatusOr<FileLocation> place = Locate();
  if (!place.ok() || *place != FileLocation::kDeleted) return;
  incidents_.Report(absl::FailedPreconditionError(absl::StrCat(
      "everything in the mount is lost: ", core_.store->file_path(),
      " was deleted while mounted")));
}

}  // namespace varve::fs
