// Replacement of the store's file by another one, and what else compactions by
// those above need.

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/io_util.h"
#include "engine/status.h"
#include "engine/store_impl.h"

namespace varve {

const std::string& Store::file_path() const { return impl_->file_path(); }

absl::StatusOr<std::unique_ptr<Store>> Store::MakeReplacement() {
  return impl_->MakeReplacement();
}

absl::Status Store::ReplaceBy(std::unique_ptr<Store> replacement) {
  return impl_->ReplaceBy(*replacement->impl_);
}

void Store::Abandon(std::unique_ptr<Store> replacement) {
  impl_->RemoveReplacement(*replacement->impl_);
}

absl::Status Store::Seal() { return impl_->Seal(); }

absl::StatusOr<bool> Store::KeepReadersOut() {
  return impl_->Pin()->file().KeepReadersOut();
}

void Store::LetReadersIn() { impl_->Pin()->file().LetReadersIn(); }

absl::Status Store::Punch(uint64_t offset, uint64_t length) {
  return impl_->Pin()->file().PunchHole(offset, length);
}

absl::StatusOr<FileInfo> Store::Info() const {
  return impl_->Pin()->file().Info();
}

absl::StatusOr<SpaceOnDisk> Store::Space() const { return impl_->Space(); }

absl::StatusOr<SpaceOnDisk> StoreImpl::Space() const {
  return options_.file_system->Space(file_path_);
}

absl::Status StoreImpl::Seal() {
  absl::MutexLock lock(&writer_mutex_);
  if (active_ == nullptr) return absl::OkStatus();
  PendingAppend pending;
  StartAppend(pending);
  return Commit(pending);
}

absl::StatusOr<std::unique_ptr<Store>> StoreImpl::MakeReplacement() {
  FileSystem& file_system = *options_.file_system;
  const std::string path = absl::StrCat(file_path_, ".compact");
  const std::shared_ptr<const Generation> generation = Pin();
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, generation->file().Info());
  const absl::Status removed = file_system.Remove(path);
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  absl::Status status;
  {
    VARVE_ASSIGN_OR_RETURN(
        std::unique_ptr<File> file,
        file_system.Open(path, OpenMode::kCreateNew, info.mode & 07777));
    status = KeepOwner(info, *file);
    if (status.ok()) status = KeepXattrs(generation->file(), *file);
  }
  if (status.ok()) {
    OpenOptions options;
    options.mode = OpenMode::kReadWrite;
    options.file_system = &file_system;
    absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(path, options);
    if (store.ok()) return store;
    status = store.status();
  }
  file_system.Remove(path).IgnoreError();  // the first error is the one to tell
  return status;
}

void StoreImpl::RemoveReplacement(StoreImpl& replacement) {
  // If it cannot be removed, the next compaction or mount tries again.
  options_.file_system->Remove(replacement.file_path_).IgnoreError();
}

absl::Status StoreImpl::ReplaceBy(StoreImpl& replacement) {
  FileSystem& file_system = *options_.file_system;
  absl::MutexLock lock(&writer_mutex_);
  absl::Status status = CheckWritable();
  if (status.ok() && active_ != nullptr) {
    status = absl::FailedPreconditionError("a stream is active");
  }
  if (status.ok()) status = CheckNotReplaced();
  if (status.ok()) {
    status = file_system.Rename(replacement.file_path_, file_path_);
  }
  if (!status.ok()) {
    RemoveReplacement(replacement);
    return status;
  }
  // From here on the new file is the store, whatever happens.
  status = file_system.SyncDirectoryOf(file_path_);
  SwitchTo(replacement.TakeGeneration());
  if (!status.ok()) {
    // A power cut may bring the old file back, without what would be appended.
    absl::MutexLock sync_lock(&sync_mutex_);
    FailSync(status);
  }
  return absl::OkStatus();
}

}  // namespace varve
