// Replacing the store's file by another one, and other functions for the
// compactions of upper layers.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/io/io_util.h"
#include "engine/store/store_impl.h"

namespace varve {

const std::string& Store::file_path() const { return impl_->file_path(); }

std::string Store::replacement_path() const {
  return impl_->replacement_path();
}

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

absl::StatusOr<bool> Store::TryLockOutReaders() {
  return impl_->Pin()->file().TryLockOutReaders();
}

void Store::LetReadersIn() { impl_->Pin()->file().LetReadersIn(); }

absl::Status Store::Punch(uint64_t offset, uint64_t length) {
  return impl_->Punch(offset, length);
}

absl::StatusOr<FileInfo> Store::Info() const { return impl_->Info(); }

absl::StatusOr<SpaceOnDisk> Store::Space() const { return impl_->Space(); }

absl::StatusOr<SpaceOnDisk> StoreImpl::Space() const {
  FileSystem& file_system = *options_.file_system;
  const absl::StatusOr<SpaceOnDisk> space = file_system.Space(file_path_);
  if (!absl::IsNotFound(space.status())) return space;
  // The file was deleted or moved, most likely on the same disk.
  const size_t slash = file_path_.rfind('/');
  return file_system.Space(
      slash == std::string::npos ? "." : file_path_.substr(0, slash + 1));
}

absl::Status StoreImpl::Punch(uint64_t offset, uint64_t length) {
  VARVE_RETURN_IF_ERROR(Pin()->file().PunchHole(offset, length));
  absl::MutexLock lock(&writer_mutex_);
  // Before another program takes the blocks that have become free.
  if (reserve_.is_short() && !must_cut_back_) {
    reserve_.TopUp(generation_->file(), generation_->written_end());
  }
  return absl::OkStatus();
}

absl::StatusOr<FileInfo> StoreImpl::Info() const {
  absl::MutexLock lock(&writer_mutex_);
  VARVE_ASSIGN_OR_RETURN(FileInfo info, generation_->file().Info());
  info.allocated -= std::min(info.allocated, reserve_.HeldBehind(info.size));
  return info;
}

absl::Status StoreImpl::Seal() {
  absl::MutexLock lock(&writer_mutex_);
  return SealLocked();
}

absl::Status StoreImpl::SealLocked() {
  if (active_ == nullptr) return absl::OkStatus();
  PendingAppend pending;
  pending.may_use_reserve = true;  // punching needs it, and it is small
  StartAppend(pending);
  return Commit(pending);
}

std::string StoreImpl::replacement_path() const {
  return absl::StrCat(file_path_, ".compact");
}

absl::StatusOr<std::unique_ptr<File>> StoreImpl::MakeReplacementFile() {
  FileSystem& file_system = *options_.file_system;
  const std::string path = replacement_path();
  const std::shared_ptr<const Generation> generation = Pin();
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, generation->file().Info());
  // We hold the store's lock, so no other process is writing the leftover of a
  // crash. A symbolic link that leads nowhere is not such a leftover.
  const absl::Status there = file_system.Info(path).status();
  if (there.ok()) {
    VARVE_RETURN_IF_ERROR(file_system.Remove(path));
  } else if (!absl::IsNotFound(there)) {
    return there;
  }
  VARVE_ASSIGN_OR_RETURN(
      std::unique_ptr<File> file,
      file_system.Open(path, OpenMode::kCreateNew, info.mode & 07777));
  absl::Status status = KeepOwner(info, *file);
  if (status.ok()) status = KeepXattrs(generation->file(), *file);
  if (status.ok()) return file;
  file_system.Remove(path).IgnoreError();  // the caller gets the first error
  return status;
}

absl::StatusOr<std::unique_ptr<Store>> StoreImpl::MakeReplacement() {
  VARVE_RETURN_IF_ERROR(MakeReplacementFile().status());
  const std::string path = replacement_path();
  OpenOptions options;
  options.mode = OpenMode::kReadWrite;
  options.file_system = options_.file_system;
  options.defer_index = options_.defer_index;
  absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(path, options);
  if (!store.ok()) options_.file_system->Remove(path).IgnoreError();
  return store;
}

void StoreImpl::RemoveReplacement(StoreImpl& replacement) {
  // If that fails, the next compaction or mount tries again.
  options_.file_system->Remove(replacement.file_path_).IgnoreError();
}

absl::Status StoreImpl::ReplaceBy(StoreImpl& replacement) {
  absl::MutexLock lock(&writer_mutex_);
  absl::Status status = CheckWritable();
  if (status.ok() && active_ != nullptr) {
    status = absl::FailedPreconditionError("a stream is active");
  }
  absl::Status synced;  // if not, the next Sync() fails
  if (status.ok()) {
    Reserve reserve(options_.file_system, file_path_);
    status = PutInPlace(replacement.file_path_,
                        replacement.TakeGeneration(reserve), &synced);
    if (status.ok()) reserve.HandOver(reserve_);
  }
  if (!status.ok()) RemoveReplacement(replacement);
  return status;
}

}  // namespace varve
