// Durability: the group commit of StoreImpl, and what it has written ahead.

#include <algorithm>
#include <cerrno>

#include "engine/base/status.h"
#include "engine/store/store_impl.h"

namespace varve {

uint64_t StoreImpl::durable_tail() const {
  absl::MutexLock lock(&sync_mutex_);
  return durable_tail_;
}

absl::Status StoreImpl::SyncNow(const Generation& generation,
                                bool sync_directory) {
  // That bytes are durable means nothing if they are gone.
  VARVE_RETURN_IF_ERROR(CheckLength(generation, generation.tail()));
  const uint64_t end = generation.written_end();
  absl::Status synced = write_out_.BeginSync();
  if (synced.ok()) synced = generation.file().Sync();
  write_out_.EndSync(synced.ok() ? end : 0);
  VARVE_RETURN_IF_ERROR(synced);
  if (!sync_directory) return absl::OkStatus();
  const absl::Status status = options_.file_system->SyncDirectoryOf(file_path_);
  // A process that may not read the directory cannot sync it. That is an error
  // only if the file is new: the name of an older file is most likely durable
  // already.
  if (recovery_.file_size > 0 && SystemErrorNumber(status) == EACCES) {
    return absl::OkStatus();
  }
  return status;
}

absl::Status StoreImpl::BeginWriteOut(uint64_t offset, uint64_t length) {
  // Kept open until then, whatever a compaction does meanwhile.
  const std::shared_ptr<const Generation> generation = Pin();
  return generation->file().BeginWriteOut(offset, length);
}

void StoreImpl::Fail(const absl::Status& status) {
  failure_.Update(status);
  read_only_.store(true, std::memory_order_release);
}

void StoreImpl::GiveReserveBack() {
  // The calling thread may hold the writer lock itself. Closing the store
  // releases the reserve, too.
  if (!writer_mutex_.TryLock()) return;
  reserve_.GiveBack(generation_->file(), generation_->written_end());
  writer_mutex_.Unlock();
}

absl::StatusOr<uint64_t> StoreImpl::Sync() {
  const std::shared_ptr<const Generation> generation = Pin();
  const uint64_t wanted = generation->tail();
  bool sync_directory = false;
  {
    // A caller that has been served leaves, also if the next sync has begun.
    const auto may_go_on = [this,
                            wanted]() ABSL_SHARED_LOCKS_REQUIRED(sync_mutex_) {
      return !syncing_ || (durable_tail_ >= wanted && !must_sync_directory_);
    };
    absl::MutexLock lock(&sync_mutex_);
    while (true) {
      if (!failure_.ok()) return failure_;
      // A new generation is durable from the start, with everything that was
      // copied into it.
      const bool is_durable =
          synced_generation_ != generation.get() ||
          (durable_tail_ >= wanted && !must_sync_directory_);
      if (is_durable || options_.mode == OpenMode::kRead) return durable_tail_;
      if (!syncing_) break;
      // That sync may have begun before our bytes were written. When it is over
      // they are durable, or one of the waiting callers syncs for all of them.
      sync_mutex_.Await(absl::Condition(&may_go_on));
    }
    syncing_ = true;
    sync_directory = must_sync_directory_;
  }
  const uint64_t reached = generation->tail();
  const absl::Status status = SyncNow(*generation, sync_directory);
  {
    absl::MutexLock lock(&sync_mutex_);
    syncing_ = false;
    if (status.ok()) {
      if (synced_generation_ == generation.get()) {
        durable_tail_ = std::max(durable_tail_, reached);
        must_sync_directory_ = false;
      }
      return durable_tail_;
    }
    // The kernel may have dropped the pages that it could not write. A later
    // sync would then succeed and mean nothing.
    Fail(status);
  }
  GiveReserveBack();
  return status;
}

}  // namespace varve
